//! Looking up servers that are given by name, over plain DNS to fixed addresses: taciturn may itself be
//! the resolver of the machine it runs on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// How long an address is trusted. An old one is better than none, so it is kept past that.
const TRUST: Duration = Duration::from_secs(600);

type Known = HashMap<String, (Vec<IpAddr>, Instant)>;

/// A resolver for a handful of names.
#[derive(Clone)]
pub struct Bootstrap {
    resolver: Option<TokioResolver>,
    known: Arc<Mutex<Known>>,
}

impl Bootstrap {
    /// Asks `servers`, plain UDP and TCP, each for at most `timeout`.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Self {
        let servers: Vec<_> = servers.iter().map(|server| name_server(*server)).collect();
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = 1;
        options.cache_size = 64;
        let resolver = (!servers.is_empty()).then(|| {
            let config = ResolverConfig::from_name_servers(servers);
            let provider = TokioRuntimeProvider::default();
            TokioResolver::builder_with_config(config, provider)
                .with_options(options)
                .build()
        });
        Self {
            resolver: resolver.and_then(Result::ok),
            known: Arc::default(),
        }
    }

    /// The addresses of a host, IPv4 first.
    ///
    /// # Errors
    ///
    /// A sentence, when no server knows it and it was not known before.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let kept = self.kept(host);
        if let Some((addresses, since)) = &kept
            && since.elapsed() < TRUST
        {
            return Ok(addresses.clone());
        }
        let old = kept.map(|(addresses, _)| addresses);
        let Some(resolver) = &self.resolver else {
            return old.ok_or_else(|| "[upstream] bootstrap names no server".to_owned());
        };
        match resolver
            .lookup_ip(format!("{}.", host.trim_end_matches('.')))
            .await
        {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.iter().collect();
                addresses.sort_by_key(IpAddr::is_ipv6);
                self.keep(host, &addresses);
                Ok(addresses)
            }
            Err(error) => old.ok_or_else(|| error.to_string()),
        }
    }

    fn kept(&self, host: &str) -> Option<(Vec<IpAddr>, Instant)> {
        self.known.lock().ok()?.get(host).cloned()
    }

    fn keep(&self, host: &str, addresses: &[IpAddr]) {
        if let Ok(mut known) = self.known.lock() {
            known.insert(host.to_owned(), (addresses.to_vec(), Instant::now()));
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![
        with_port(ConnectionConfig::udp()),
        with_port(ConnectionConfig::tcp()),
    ];
    NameServerConfig::new(address.ip(), true, connections)
}

/// List servers are looked up the same way, so that downloads work before taciturn itself answers.
impl reqwest::dns::Resolve for Bootstrap {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let bootstrap = self.clone();
        Box::pin(async move {
            let found = bootstrap.addresses(name.as_str()).await?;
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}
