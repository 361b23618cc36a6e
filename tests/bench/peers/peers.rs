//! The servers that are compared: how each is configured for the same list and the same upstream.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::names::write_list;
use crate::table::Transport;

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Peer {
    Ceiling,
    Taciturn,
    Unbound,
    Dnsmasq,
    Dnsdist,
    Kresd,
    Nsd,
    Adguardhome,
    Blocky,
}

/// What to start.
pub struct Start {
    pub program: String,
    pub arguments: Vec<String>,
}

/// Where and with what.
pub struct Setting<'a> {
    pub folder: &'a Path,
    pub listen: SocketAddr,
    pub tls: SocketAddr,
    pub https: SocketAddr,
    pub upstream: SocketAddr,
    pub names: u64,
    /// UDP sockets of taciturn, each with a thread.
    pub workers: usize,
}

impl Peer {
    pub const ALL: [Self; 9] = [
        Self::Ceiling,
        Self::Taciturn,
        Self::Unbound,
        Self::Dnsmasq,
        Self::Dnsdist,
        Self::Kresd,
        Self::Nsd,
        Self::Adguardhome,
        Self::Blocky,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "(ceiling)",
            Self::Taciturn => "taciturn",
            Self::Unbound => "unbound",
            Self::Dnsmasq => "dnsmasq",
            Self::Dnsdist => "dnsdist",
            Self::Kresd => "knot-resolver",
            Self::Nsd => "nsd",
            Self::Adguardhome => "AdGuard Home",
            Self::Blocky => "blocky",
        }
    }

    /// The program, and how to get it.
    pub fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ceiling | Self::Taciturn => None,
            Self::Unbound => Some(("unbound", "apt-get install unbound")),
            Self::Dnsmasq => Some(("dnsmasq", "apt-get install dnsmasq-base")),
            Self::Dnsdist => Some(("dnsdist", "apt-get install dnsdist")),
            Self::Kresd => Some(("kresd", "apt-get install knot-resolver")),
            Self::Nsd => Some(("nsd", "apt-get install nsd")),
            Self::Adguardhome => Some((
                "AdGuardHome",
                "build github.com/AdguardTeam/AdGuardHome with Go and put it on the PATH",
            )),
            Self::Blocky => Some((
                "blocky",
                "build github.com/0xERR0R/blocky with Go and put it on the PATH",
            )),
        }
    }

    /// Whether it can forward: nsd is here as an authoritative server with the list for its zone.
    pub fn forwards(self) -> bool {
        !matches!(self, Self::Ceiling | Self::Nsd)
    }

    /// Whether it speaks DNS over this transport here.
    pub fn speaks(self, transport: Transport) -> bool {
        match transport {
            Transport::Udp => true,
            Transport::Tcp => self != Self::Ceiling,
            _ => matches!(
                self,
                Self::Taciturn | Self::Unbound | Self::Dnsdist | Self::Kresd
            ),
        }
    }

    /// Writes the list and configuration; returns the command.
    pub fn prepare(self, setting: &Setting<'_>) -> std::io::Result<Start> {
        let Setting {
            folder,
            listen,
            tls,
            https,
            upstream,
            names,
            workers,
        } = *setting;
        let (chain, key) = (folder.join(CHAIN), folder.join(KEY));
        let (chain, key) = (chain.display(), key.display());
        let config = folder.join("config");
        let list = folder.join("list");
        let write = |text: String| std::fs::write(&config, text);
        let plain = |line: fn(&str) -> String| write_list(&list, names, "", line, "");
        let (port, folder_text) = (listen.port(), folder.display());
        let list_text = list.display();
        let arguments: Vec<String> = match self {
            Self::Ceiling => vec!["ceiling".to_owned(), listen.to_string()],
            Self::Taciturn => {
                plain(str::to_owned)?;
                write(format!(
                    "data = \"{folder_text}/data\"\n[listen]\ndns = [\"{listen}\"]\nudp_sockets = {workers}\n\
                     tls = [\"{tls}\"]\nhttps = [\"{https}\"]\n\
                     tls_connections_per_address = 20000\ntls_connections = 20000\n\
                     tcp_connections_per_address = 20000\ntcp_connections = 20000\n\
                     [tls]\nhostname = \"{HOSTNAME}\"\ncertificate = \"{chain}\"\nkey = \"{key}\"\n\
                     [access]\nencrypted = [\"127.0.0.0/8\"]\n\
                     [web]\nlisten = []\n[upstream]\nservers = [\"udp://{upstream}\"]\n\
                     [cache]\nsize = \"512 MiB\"\n\
                     [[list]]\nname = \"million\"\nfile = \"{list_text}\"\naction = \"block\"\n"
                ))?;
                vec![
                    "serve".into(),
                    "--config".into(),
                    config.display().to_string(),
                ]
            }
            Self::Unbound => {
                write_list(
                    &list,
                    names,
                    "server:\n",
                    |name| format!("local-zone: \"{name}\" always_null"),
                    "",
                )?;
                write(format!(
                    "server:\n interface: {}@{port}\n interface: {}@{}\n interface: {}@{}\n \
                     tls-port: {}\n https-port: {}\n \
                     tls-service-pem: \"{chain}\"\n tls-service-key: \"{key}\"\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
                     directory: \"{folder_text}\"\n pidfile: \"\"\n use-syslog: no\n num-threads: 1\n \
                     do-not-query-localhost: no\n module-config: \"iterator\"\n \
                     msg-cache-size: 64m\n rrset-cache-size: 128m\n so-rcvbuf: 1m\n \
                     incoming-num-tcp: 1000\n outgoing-range: 4096\n num-queries-per-thread: 2048\n \
                     include: \"{list_text}\"\n\
                     forward-zone:\n name: \".\"\n forward-addr: {}@{}\n\
                     remote-control:\n control-enable: no\n",
                    listen.ip(),
                    tls.ip(),
                    tls.port(),
                    https.ip(),
                    https.port(),
                    tls.port(),
                    https.port(),
                    upstream.ip(),
                    upstream.port()
                ))?;
                vec!["-d".into(), "-c".into(), config.display().to_string()]
            }
            Self::Dnsmasq => {
                write_list(&list, names, "", |name| format!("address=/{name}/#"), "")?;
                write(format!(
                    "port={port}\nlisten-address={}\nbind-interfaces\nno-resolv\nno-hosts\n\
                     server={}#{}\ncache-size=200000\nuser=root\ngroup=root\npid-file=\n\
                     dns-forward-max=10000\nconf-file={list_text}\n",
                    listen.ip(),
                    upstream.ip(),
                    upstream.port()
                ))?;
                vec!["-k".into(), format!("--conf-file={}", config.display())]
            }
            Self::Dnsdist => {
                plain(str::to_owned)?;
                write(format!(
                    "addLocal('{listen}', {{reusePort=true}})\n\
                     addTLSLocal('{tls}', '{chain}', '{key}')\n\
                     addDOHLocal('{https}', '{chain}', '{key}', '/dns-query')\nsetACL('127.0.0.0/8')\n\
                     newServer({{address='{upstream}', sockets=4}})\nsetMaxUDPOutstanding(65535)\n\
                     getPool(''):setCache(newPacketCache(300000, {{maxTTL=86400}}))\n\
                     local names = newSuffixMatchNode()\n\
                     for name in io.lines('{list_text}') do names:add(newDNSName(name)) end\n\
                     addAction(SuffixMatchNodeRule(names), SpoofAction({{'0.0.0.0'}}))\n"
                ))?;
                vec![
                    "--supervised".into(),
                    "--disable-syslog".into(),
                    "-C".into(),
                    config.display().to_string(),
                ]
            }
            Self::Kresd => {
                write_list(
                    &list,
                    names,
                    "$TTL 300\n@ SOA a. b. 1 1 1 1 1\n",
                    |name| format!("{name} A 0.0.0.0\n*.{name} A 0.0.0.0"),
                    "",
                )?;
                write(format!(
                    "net.listen('{}', {port}, {{kind='dns'}})\n\
                     net.listen('{}', {}, {{kind='tls'}})\n\
                     net.listen('{}', {}, {{kind='doh2'}})\n\
                     net.tls('{chain}', '{key}')\nnet.ipv6 = false\n\
                     modules = {{'policy'}}\nmodules.unload('ta_sentinel')\nmodules.unload('ta_signal_query')\n\
                     trust_anchors.remove('.')\ncache.size = 100 * MB\n\
                     policy.add(policy.rpz(policy.DENY, '{list_text}', false))\n\
                     policy.add(policy.all(policy.STUB('{}@{}')))\n",
                    listen.ip(),
                    tls.ip(),
                    tls.port(),
                    https.ip(),
                    https.port(),
                    upstream.ip(),
                    upstream.port()
                ))?;
                vec![
                    "-n".into(),
                    "-c".into(),
                    config.display().to_string(),
                    folder_text.to_string(),
                ]
            }
            Self::Nsd => {
                write_list(
                    &list,
                    names,
                    "$ORIGIN .\n$TTL 300\n@ SOA a. b. 1 1 1 1 1\n@ NS a.\n",
                    |name| format!("{name}. A 0.0.0.0"),
                    "",
                )?;
                write(format!(
                    "server:\n ip-address: {}@{port}\n server-count: 1\n username: \"\"\n \
                     zonesdir: \"{folder_text}\"\n database: \"\"\n pidfile: \"{folder_text}/pid\"\n \
                     zonelistfile: \"{folder_text}/zones\"\n xfrdfile: \"{folder_text}/xfrd\"\n\
                     remote-control:\n control-enable: no\n\
                     zone:\n name: \".\"\n zonefile: \"{list_text}\"\n",
                    listen.ip()
                ))?;
                vec!["-d".into(), "-c".into(), config.display().to_string()]
            }
            Self::Adguardhome => {
                plain(|name| format!("||{name}^"))?;
                write(format!(
                    "http:\n  address: 127.0.0.1:{}\nusers: []\ndns:\n  bind_hosts: [{}]\n  port: {port}\n  \
                     upstream_dns: ['{upstream}']\n  bootstrap_dns: ['{upstream}']\n  ratelimit: 0\n  \
                     cache_size: 67108864\n  refuse_any: true\n  max_goroutines: 5000\n\
                     querylog:\n  enabled: false\nstatistics:\n  enabled: true\n  interval: 24h\n\
                     filters:\n  - enabled: true\n    url: {list_text}\n    name: million\n    id: 1\n\
                     filtering:\n  protection_enabled: true\n  filtering_enabled: true\n  \
                     filters_update_interval: 0\n  blocking_mode: null_ip\nschema_version: 28\n",
                    port + 1,
                    listen.ip()
                ))?;
                let filters = folder.join("data/filters");
                std::fs::create_dir_all(&filters)?;
                std::fs::copy(&list, filters.join("1.txt"))?;
                vec![
                    "--no-check-update".into(),
                    "--config".into(),
                    config.display().to_string(),
                    "--work-dir".into(),
                    folder_text.to_string(),
                ]
            }
            Self::Blocky => {
                plain(str::to_owned)?;
                write(format!(
                    "upstreams:\n  groups:\n    default: ['{upstream}']\nports:\n  dns: {listen}\n\
                     log:\n  level: error\nblocking:\n  denylists:\n    million: ['{list_text}']\n  \
                     clientGroupsBlock:\n    default: [million]\ncaching:\n  maxItemsCount: 300000\n"
                ))?;
                vec!["--config".into(), config.display().to_string()]
            }
        };
        Ok(Start {
            program: self.find_program()?,
            arguments,
        })
    }

    fn find_program(self) -> std::io::Result<String> {
        let own = |path: PathBuf| path.display().to_string();
        match self {
            Self::Ceiling => std::env::current_exe().map(own),
            Self::Taciturn => Ok(env!("CARGO_BIN_EXE_taciturn").to_owned()),
            other => other
                .program()
                .and_then(|(program, _)| crate::process::find(program))
                .ok_or_else(|| std::io::Error::other("not installed")),
        }
    }
}

/// The name that the certificate is for.
const HOSTNAME: &str = "bench.test";
const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";

/// Writes a certificate that every server uses: the same work for all.
pub fn write_certificate(folder: &Path) -> Result<(), String> {
    let names = vec![HOSTNAME.to_owned(), format!("*.{HOSTNAME}")];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).map_err(|error| error.to_string())
    };
    write(CHAIN, made.cert.pem())?;
    write(KEY, made.signing_key.serialize_pem())
}
