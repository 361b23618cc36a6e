//! `taciturn.toml` -> checked values.
//!
//! Every key has a default, so no file at all is a valid configuration. Unknown keys, bad values and
//! conflicts are refused with file, line, what was expected and a suggestion ([`ConfigError`]).

mod load;
pub mod registry;
mod upstream_url;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

pub(crate) use load::check_name;
pub use load::{ConfigError, EXAMPLE, Loaded, load, parse};
pub use upstream_url::{Host, Transport, UpstreamUrl, UpstreamUrlError};
pub use values::{DomainName, Glob, HostName, Label, ListUrl, LocalData, Network, Period, Size};

use crate::answer::BlockKind;
use crate::lists::assemble::OwnRules;
use crate::lists::{Assembled, CacheFolder, Format, ListSpec, Source, assemble};
use crate::policy::{Action, Category};

/// The whole configuration.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data folder; `None` means the user's, per XDG.
    pub data: Option<PathBuf>,
    /// `[listen]`
    pub listen: Listen,
    /// `[tls]`
    pub tls: Tls,
    /// `[access]`
    pub access: Access,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[forward."domain"]`
    pub forward: BTreeMap<DomainName, Forward>,
    /// `[cache]`
    pub cache: Cache,
    /// `[policy]`
    pub policy: Policy,
    /// `[rules]`
    pub rules: Rules,
    /// `[lists]`
    pub lists: Lists,
    /// `[[list]]`
    pub list: Vec<Spanned<List>>,
    /// `[[device]]`
    pub device: Vec<Spanned<Device>>,
    /// `[local]`
    pub local: BTreeMap<DomainName, LocalData>,
    /// `[record]`
    pub record: Record,
    /// `[web]`
    pub web: Web,
}

/// Where to listen, and the limits of connections.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Plain DNS over UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// DNS over TLS: what phones call Private DNS.
    pub tls: Vec<SocketAddr>,
    /// DNS over HTTPS.
    pub https: Vec<SocketAddr>,
    /// DNS over QUIC.
    pub quic: Vec<SocketAddr>,
    /// UDP sockets per address; 0 means one per core.
    pub udp_sockets: usize,
    /// Whether UDP sockets move many datagrams with one system call, where the system can.
    pub udp_batches: bool,
    /// The largest UDP reply in bytes.
    pub udp_payload: u16,
    /// Queries a second over UDP from one client; 0 means any number.
    pub udp_rate: u32,
    /// Queries at once over UDP from one client after a pause.
    pub udp_burst: u32,
    /// Networks whose clients have no such limit.
    pub udp_unlimited: Vec<Network>,
    /// How long a TCP connection may stay idle.
    pub tcp_idle: Period,
    /// TCP connections at once.
    pub tcp_connections: usize,
    /// TCP connections at once from one address.
    pub tcp_connections_per_address: usize,
    /// How long an encrypted connection may stay idle.
    pub tls_idle: Period,
    /// Encrypted connections at once, on each address.
    pub tls_connections: usize,
    /// Encrypted connections at once from one address.
    pub tls_connections_per_address: usize,
    /// Queries at once on one connection.
    pub tcp_pipeline: usize,
    /// Queries that wait for an upstream at once, all clients together.
    pub waiting: usize,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            dns: vec![SocketAddr::from(([127, 0, 0, 1], 5300))],
            tls: Vec::new(),
            https: Vec::new(),
            quic: Vec::new(),
            udp_sockets: 0,
            udp_batches: true,
            udp_payload: 1232,
            udp_rate: 300,
            udp_burst: 2000,
            udp_unlimited: ["127.0.0.0/8", "::1/128"]
                .iter()
                .filter_map(|network| network.parse().ok().map(Network))
                .collect(),
            tcp_idle: Period(Duration::from_secs(10)),
            tcp_connections: 1000,
            tcp_connections_per_address: 100,
            tls_idle: Period(Duration::from_secs(120)),
            tls_connections: 10_000,
            tls_connections_per_address: 200,
            tcp_pipeline: 256,
            waiting: 10_000,
        }
    }
}

/// What encrypted listeners prove their name with.
#[derive(Debug, Clone, Deserialize, PartialEq, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The host name that clients ask for; devices have names of their own right below it.
    pub hostname: Option<HostName>,
    /// The certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Make a certificate that nobody trusts, to try things out.
    pub self_signed: bool,
}

/// Who may ask.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Networks that are answered over plain DNS; others get REFUSED.
    pub allow: Vec<Network>,
    /// Networks that may use the encrypted listeners without being a registered device.
    pub encrypted: Vec<Network>,
}

impl Default for Access {
    fn default() -> Self {
        let private = [
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "100.64.0.0/10",
            "fc00::/7",
            "fe80::/10",
        ];
        Self {
            allow: private
                .iter()
                .filter_map(|n| n.parse().ok().map(Network))
                .collect(),
            encrypted: Vec::new(),
        }
    }
}

/// In which order upstreams are asked.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The one that has answered fastest lately; the others are tried now and then, and when it fails.
    #[default]
    Fastest,
    /// As written; the next one when one fails.
    Ordered,
}

/// Who answers what taciturn does not know.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// The servers.
    pub servers: Vec<UpstreamUrl>,
    /// In which order they are asked.
    pub strategy: Strategy,
    /// How long one server may take.
    pub timeout: Period,
    /// How long a client waits for all of them together.
    pub deadline: Period,
    /// Plain DNS servers that look up upstreams given by name.
    pub bootstrap: Vec<SocketAddr>,
    /// Validate DNSSEC here instead of trusting the upstream.
    pub dnssec: bool,
    /// A file of DNSKEY records to validate from, instead of the root's own keys.
    pub trust_anchor: Option<PathBuf>,
    /// A PEM file of certificate authorities trusted besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// Drop private addresses from public answers.
    pub rebind_protection: bool,
    /// Domains whose answers may hold private addresses.
    pub rebind_allow: Vec<DomainName>,
}

impl Default for Upstream {
    fn default() -> Self {
        let defaults = [
            "tls://9.9.9.9#dns.quad9.net",
            "tls://86.54.11.100#unfiltered.joindns4.eu",
        ];
        Self {
            servers: defaults.iter().filter_map(|s| s.parse().ok()).collect(),
            strategy: Strategy::default(),
            timeout: Period(Duration::from_secs(3)),
            deadline: Period(Duration::from_secs(6)),
            bootstrap: vec![
                SocketAddr::from(([9, 9, 9, 9], 53)),
                SocketAddr::from(([86, 54, 11, 100], 53)),
            ],
            dnssec: false,
            trust_anchor: None,
            ca_file: None,
            rebind_protection: false,
            rebind_allow: Vec::new(),
        }
    }
}

/// Other servers for one domain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// The servers.
    pub servers: Vec<UpstreamUrl>,
}

/// The answer cache.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Its size in bytes; 0 turns it off.
    pub size: Size,
    /// Answers are kept at least that long.
    pub min_ttl: Period,
    /// Answers are kept at most that long.
    pub max_ttl: Period,
    /// Denials are kept at most that long.
    pub negative_max_ttl: Period,
    /// How long past its end an answer may be served when no upstream answers; zero turns that off.
    pub stale: Period,
    /// How long an upstream may take before a stale answer is served.
    pub stale_after: Period,
    /// Renew popular answers shortly before they end.
    pub prefetch: bool,
    /// How long a failure is remembered, at first.
    pub failure_ttl: Period,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            size: Size(16 << 20),
            min_ttl: Period(Duration::ZERO),
            max_ttl: Period(Duration::from_secs(86_400)),
            negative_max_ttl: Period(Duration::from_secs(3600)),
            stale: Period(Duration::from_secs(86_400)),
            stale_after: Period(Duration::from_millis(1800)),
            prefetch: true,
            failure_ttl: Period(Duration::from_secs(5)),
        }
    }
}

/// What is done per category, and how a blocked name is answered.
#[derive(Debug, Clone, Deserialize, Default, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Off: nothing is blocked or recorded.
    pub filtering: Option<bool>,
    /// What is done about each category.
    pub categories: BTreeMap<Category, Action>,
    /// How a blocked name is answered.
    pub answer: Option<BlockKind>,
    /// The addresses for `answer = "address"`.
    pub addresses: Vec<IpAddr>,
    /// How long clients may keep a block answer.
    pub ttl: Option<Period>,
}

/// The owner's own rules; they outrank every list.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Let through.
    pub allow: Vec<Glob>,
    /// Block.
    pub block: Vec<Glob>,
    /// Answer and record.
    pub record: Vec<Glob>,
}

/// What holds for all lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lists {
    /// The shipped catalogue.
    pub catalogue: bool,
    /// How often URL lists are asked for news.
    pub refresh: Period,
    /// The largest list in bytes.
    pub max_size: Size,
    /// How long a download may take.
    pub timeout: Period,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            catalogue: true,
            refresh: Period(Duration::from_secs(86_400)),
            max_size: Size(64 << 20),
            timeout: Period(Duration::from_secs(60)),
        }
    }
}

/// One list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Its name in output and block answers.
    pub name: String,
    /// Where it lies, if it is a file; relative to the configuration.
    pub file: Option<PathBuf>,
    /// Where it is fetched, if it is not.
    pub url: Option<ListUrl>,
    /// What is done with its names.
    #[serde(default = "block")]
    pub action: Action,
    /// Its format; found out when not given.
    pub format: Option<String>,
    /// Whether plain names cover what lies below them; by format when not given.
    pub subdomains: Option<bool>,
    /// The category of everything on it.
    pub category: Option<Category>,
    /// The vendor of everything on it.
    pub vendor: Option<String>,
}

fn block() -> Action {
    Action::Block
}

/// A phone or computer, known by a label that is its alone, or by its addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name in counts and log.
    pub name: String,
    /// The first label of its own host name.
    #[serde(default)]
    pub label: Option<Label>,
    /// Its addresses or networks.
    #[serde(default)]
    pub addresses: Vec<Network>,
    /// Nothing is blocked or recorded until then.
    #[serde(default)]
    pub paused_until: Option<jiff::Timestamp>,
    /// What differs from `[policy]`.
    #[serde(default)]
    pub policy: Policy,
}

/// Which lookups are logged.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogScope {
    /// None; counts are kept all the same.
    None,
    /// Those that were blocked or recorded.
    #[default]
    Matched,
    /// All: a browsing history.
    All,
}

/// Counts and log.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// Which lookups are logged.
    pub log: LogScope,
    /// How long the log is kept.
    pub log_retention: Period,
    /// How long counts are kept.
    pub count_retention: Period,
    /// Whether a client that no `[[device]]` names is counted under its address.
    pub unnamed_by_address: bool,
    /// Different lookups that each thread holds until they are written.
    pub queue: usize,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            log: LogScope::default(),
            log_retention: Period(Duration::from_secs(30 * 86_400)),
            count_retention: Period(Duration::from_secs(731 * 86_400)),
            unnamed_by_address: true,
            queue: 4096,
        }
    }
}

/// The API.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Where it listens; empty turns it off.
    pub listen: Vec<SocketAddr>,
    /// Host names by which it may be called, besides addresses and `localhost`.
    pub hosts: Vec<String>,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5380))],
            hosts: Vec::new(),
        }
    }
}

impl List {
    /// The list as the list room takes it.
    pub fn spec(&self) -> Option<ListSpec> {
        let source = match (&self.file, &self.url) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(url)) => Source::Url(url.0.clone()),
            (None, None) => return None,
        };
        Some(ListSpec {
            name: self.name.clone(),
            source,
            action: self.action,
            format: self.format.as_deref().and_then(Format::by_name),
            subdomains: self.subdomains,
            category: self.category,
            vendor: self.vendor.clone(),
        })
    }
}

impl Rules {
    /// The rules as the list room takes them.
    pub fn own_rules(&self) -> OwnRules {
        let groups = [
            (&self.allow, Action::Allow),
            (&self.block, Action::Block),
            (&self.record, Action::Record),
        ];
        let rules = groups.into_iter().flat_map(|(globs, action)| {
            globs.iter().map(move |glob| (glob.pattern.clone(), action))
        });
        OwnRules {
            rules: rules.collect(),
        }
    }
}

impl Listen {
    /// Whether anything encrypted is listened for.
    pub fn is_encrypted(&self) -> bool {
        !(self.tls.is_empty() && self.https.is_empty() && self.quic.is_empty())
    }
}

impl Config {
    /// Reads and compiles the lists and rules of this configuration.
    pub fn assemble(&self) -> Result<Assembled, String> {
        let folder = CacheFolder::new(&self.data_folder());
        assemble(
            &self.rules.own_rules(),
            &self.list_specs(),
            self.lists.catalogue,
            &folder,
        )
    }

    /// The lists as the list room takes them.
    pub fn list_specs(&self) -> Vec<ListSpec> {
        self.list
            .iter()
            .filter_map(|list| list.get_ref().spec())
            .collect()
    }

    /// The data folder: as configured, else `$XDG_DATA_HOME/taciturn` or the system's counterpart.
    pub fn data_folder(&self) -> PathBuf {
        match &self.data {
            Some(folder) => folder.clone(),
            None => dirs::data_dir()
                .unwrap_or_else(|| PathBuf::from("."))
                .join("taciturn"),
        }
    }
}
