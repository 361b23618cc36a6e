//! Which servers answer a name: the default ones, or those of the domain it lies in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::ResolverOpts;
use hickory_resolver::{PoolContext, TlsConfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::server::Server;
use super::validate::ValidatingPool;
use super::{Bootstrap, Pool, Question, UpstreamError};
use crate::config::{Strategy, Upstream, UpstreamUrl};
use crate::wire::Name;

/// What a router is made from.
pub struct RouterConfig<'c> {
    /// `[upstream]`.
    pub upstream: &'c Upstream,
    /// `[forward]`: domains with servers of their own.
    pub forward: Vec<(Name, &'c [UpstreamUrl])>,
}

/// The pools, by domain.
pub struct Router {
    default: Pool,
    validating: Option<ValidatingPool>,
    domains: Vec<(Name, Pool)>,
}

impl Router {
    /// Makes the pools; nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// A sentence, when the file of certificate authorities cannot be used.
    pub fn new(config: &RouterConfig<'_>, bootstrap: &Bootstrap) -> Result<Self, String> {
        let upstream = config.upstream;
        let context = Arc::new(PoolContext::new(
            options(upstream.timeout.0),
            TlsConfig {
                config: tls_config(upstream.ca_file.as_deref())?,
            },
        ));
        let pool = |urls: &[UpstreamUrl], strategy: Strategy| {
            let server = |url: &UpstreamUrl| {
                Arc::new(Server::new(url.clone(), context.clone(), bootstrap.clone()))
            };
            Pool::new(
                urls.iter().map(server).collect(),
                strategy,
                upstream.deadline.0,
            )
        };
        let default = pool(&upstream.servers, upstream.strategy);
        let mut domains: Vec<_> = config
            .forward
            .iter()
            .map(|(domain, urls)| (domain.clone(), pool(urls, Strategy::Ordered)))
            .collect();
        domains.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.labels()));
        let anchor = upstream.trust_anchor.as_deref();
        let validating = match upstream.dnssec {
            true => Some(ValidatingPool::new(default.clone(), anchor)?),
            false => None,
        };
        Ok(Self {
            validating,
            default,
            domains,
        })
    }

    /// The servers of the longest domain that `name` lies in, if any has servers of its own.
    pub fn domain_of(&self, name: &Name) -> Option<&Pool> {
        let found = self
            .domains
            .iter()
            .find(|(domain, _)| name.is_within(domain));
        found.map(|(_, pool)| pool)
    }

    /// Whether any domain has servers of its own.
    pub fn has_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Asks whoever answers the name. Returns the response's bytes as they came.
    ///
    /// # Errors
    ///
    /// Why no server answered, or that the answer failed validation. Domains with servers of their own are
    /// not validated: what is private has no chain of trust from the root.
    pub async fn ask(&self, question: &Question) -> Result<Vec<u8>, UpstreamError> {
        if let Some(pool) = self.domain_of(&question.name) {
            return Ok(pool.ask(&question.request()).await?.into_buffer());
        }
        match &self.validating {
            Some(pool) if !question.checking_disabled => pool.ask(question).await,
            _ => Ok(self.default.ask(&question.request()).await?.into_buffer()),
        }
    }

    /// All servers, the default ones first.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        let domains = self.domains.iter().flat_map(|(_, pool)| pool.servers());
        self.default.servers().iter().chain(domains)
    }
}

fn options(timeout: Duration) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.max_active_requests = 4096;
    options
}

/// The TLS settings for upstreams and list servers: the public authorities, and those in `ca_file`.
///
/// # Errors
///
/// A sentence that names the file.
pub fn tls_config(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(file) = ca_file {
        let bad = |why: String| format!("[upstream] ca_file {}: {why}", file.display());
        let certificates = CertificateDer::pem_file_iter(file)
            .map_err(|error| bad(error.to_string()))?
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(error.to_string()))?;
        if certificates.is_empty() {
            return Err(bad("holds no certificate in PEM form".to_owned()));
        }
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| bad(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
