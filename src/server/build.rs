//! From checked values to what queries are answered from.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::answer::{BlockAnswer, Designated, Local, LocalRecords};
use crate::cache::Limits;
use crate::certificate::{Certificate, OwnFiles, make_own};
use crate::config::{Config, LocalData, LogScope, Network, Policy as PolicyConfig};
use crate::device::setup::PATH;
use crate::device::{Device, Devices, Treatment};
use crate::policy::special::SpecialNames;
use crate::policy::{Networks, Policy, RuleSet};
use crate::resolve::Live;
use crate::upstream::router::tls_config;
use crate::upstream::{Bootstrap, Router, RouterConfig};
use crate::wire::Name;

/// Makes the way to the upstreams.
///
/// # Errors
///
/// A sentence, when the file of certificate authorities cannot be used.
pub fn router(config: &Config) -> Result<Arc<Router>, String> {
    let forward = config.forward.iter();
    let forward = forward.map(|(domain, forward)| (domain.0.clone(), &forward.servers[..]));
    let config_of_router = RouterConfig {
        upstream: &config.upstream,
        forward: forward.collect(),
    };
    let router = Router::new(&config_of_router, &bootstrap(config))?;
    Ok(Arc::new(router))
}

/// Builds the state for `config` with these rules and this way to the upstreams.
pub fn live(config: &Config, rules: Arc<RuleSet>, router: Arc<Router>, generation: u32) -> Live {
    let upstream = &config.upstream;
    let networks = |allowed: &[Network]| {
        let mut networks = Networks::default();
        for network in allowed {
            networks.add(network.0, ());
        }
        networks
    };
    let devices = devices(config);
    let hostname = config.tls.hostname.as_ref();
    let port = |addresses: &[SocketAddr]| addresses.first().map(SocketAddr::port);
    let rebind_allow = upstream.rebind_allow.iter().map(|domain| domain.0.clone());
    Live {
        generation,
        rules,
        devices: Arc::new(devices),
        local: local(config),
        special: SpecialNames::default(),
        designated: Designated {
            hostname: hostname.and_then(|name| Name::from_text(&name.0).ok()),
            tls: port(&config.listen.tls),
            https: port(&config.listen.https),
            quic: port(&config.listen.quic),
            path: PATH,
        },
        access: networks(&config.access.allow),
        access_encrypted: networks(&config.access.encrypted),
        router,
        limits: Limits {
            min_ttl: config.cache.min_ttl.seconds(),
            max_ttl: config.cache.max_ttl.seconds(),
            negative_max_ttl: config.cache.negative_max_ttl.seconds(),
            stale: config.cache.stale.seconds(),
            failure_ttl: config.cache.failure_ttl.seconds(),
        },
        prefetch: config.cache.prefetch,
        stale_after: config.cache.stale_after.0,
        rebind_allow: upstream.rebind_protection.then(|| rebind_allow.collect()),
        waiting: Arc::new(Semaphore::new(config.listen.waiting)),
        log_all: config.record.log == LogScope::All,
        unnamed_by_address: config.record.unnamed_by_address,
    }
}

fn bootstrap(config: &Config) -> Bootstrap {
    Bootstrap::new(&config.upstream.bootstrap, config.upstream.timeout.0)
}

fn local(config: &Config) -> LocalRecords {
    LocalRecords::new(config.local.iter().map(|(name, data)| {
        let local = match data {
            LocalData::Addresses(addresses) => Local::Addresses(addresses.clone()),
            LocalData::Alias(target) => Local::Alias(target.clone()),
        };
        (name.0.clone(), local)
    }))
}

/// The devices of a configuration, and what is done for everybody else.
pub fn devices(config: &Config) -> Devices {
    let base = &config.policy;
    let now = jiff::Timestamp::now();
    let all = config.device.iter().map(|device| {
        let device = device.get_ref();
        let own = device.policy != PolicyConfig::default();
        let mut treatment = Treatment {
            own,
            ..treatment(base, Some(&device.policy))
        };
        if device.paused_until.is_some_and(|until| until > now) {
            treatment.policy.filtering = false;
        }
        let addresses = device.addresses.iter().map(|network| network.0);
        let device = Device {
            name: device.name.as_str().into(),
            label: device.label.as_ref().map(|label| label.0.as_str().into()),
            treatment,
        };
        (device, addresses.collect())
    });
    let hostname = config.tls.hostname.as_ref();
    Devices::new(
        all.collect(),
        treatment(base, None),
        hostname.map(|hostname| hostname.0.as_str()),
    )
}

/// What `[policy]` says, with what a device's own policy says differently.
fn treatment(base: &PolicyConfig, own: Option<&PolicyConfig>) -> Treatment {
    let mut policy = Policy::default();
    let mut block = BlockAnswer::default();
    for config in [Some(base), own].into_iter().flatten() {
        if let Some(filtering) = config.filtering {
            policy.filtering = filtering;
        }
        for (category, action) in &config.categories {
            policy.set(*category, *action);
        }
        if let Some(kind) = config.answer {
            block.kind = kind;
        }
        if !config.addresses.is_empty() {
            block.addresses.clone_from(&config.addresses);
        }
        if let Some(ttl) = config.ttl {
            block.ttl = ttl.seconds();
        }
    }
    Treatment {
        policy,
        block,
        own: false,
    }
}

/// The certificate that a configuration asks for; none when nothing encrypted is listened on.
///
/// # Errors
///
/// A sentence, when it cannot be used.
pub fn certificate(config: &Config) -> Result<Option<Certificate>, String> {
    let tls = &config.tls;
    let hostname = tls.hostname.as_ref();
    let Some(hostname) = hostname.filter(|_| config.listen.is_encrypted()) else {
        return Ok(None);
    };
    let loaded = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => Certificate::load(certificate, key, &hostname.0),
        _ => {
            let files = OwnFiles::new(&config.data_folder());
            make_own(&files, &hostname.0)?;
            tracing::warn!(
                "the certificate is self-signed: Android refuses it in strict mode; trust {} for trying things out",
                files.authority.display()
            );
            Certificate::load(&files.certificate, &files.key, &hostname.0)
        }
    };
    let loaded = loaded.map_err(|error| error.to_string())?;
    if !loaded.covers(&format!("x.{}", hostname.0)) {
        tracing::warn!(
            "the certificate is not for *.{}: devices can be told apart by the path of DNS over HTTPS only",
            hostname.0
        );
    }
    Ok(Some(loaded))
}

/// The client that downloads lists: same authorities as for upstreams, names looked up by the bootstrap
/// servers.
///
/// # Errors
///
/// A sentence, when the file of certificate authorities cannot be used.
pub fn http_client(config: &Config) -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("taciturn/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(bootstrap(config))
        .tls_backend_preconfigured(tls_config(config.upstream.ca_file.as_deref())?)
        .connect_timeout(config.lists.timeout.0);
    builder.build().map_err(|error| error.to_string())
}
