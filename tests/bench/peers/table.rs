//! Figures of many turns, and the tables that are printed of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use comfy_table::Table;

use crate::flood::{Outcome, Plan};
use crate::names::{Queries, Workload};
use crate::peers::Peer;
use crate::process::{LOAD_CORE, Usage};

/// How queries travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Transport {
    Udp,
    Tcp,
    /// DNS over TLS, on ten connections that stay.
    Dot,
    /// DNS over HTTPS, on ten connections that stay.
    Doh,
    /// DNS over TLS, with a full handshake for each query.
    Handshakes,
}

impl Transport {
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Dot, Self::Doh, Self::Handshakes];

    /// Whether a workload shows something over this transport that it does not over another.
    pub fn shows(self, workload: Workload) -> bool {
        match self {
            Self::Udp | Self::Tcp => true,
            Self::Dot | Self::Doh => matches!(workload, Workload::Blocked | Workload::Cached),
            Self::Handshakes => workload == Workload::Cached,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Dot => "TLS",
            Self::Doh => "HTTPS",
            Self::Handshakes => "TLS with a handshake for each query",
        }
    }
}

/// What one turn showed.
#[derive(Debug, Clone)]
pub struct Figures {
    rate: f64,
    /// Microseconds of the server's CPU per answer.
    cpu: f64,
    p50: f64,
    p99: f64,
    rss: u64,
    ready: Duration,
    /// Share of queries without a good answer.
    bad: f64,
}

impl Figures {
    pub fn new(
        load: &Outcome,
        latency: &Outcome,
        before: Usage,
        after: Usage,
        ready: Duration,
    ) -> Self {
        let answered = load.answered.max(1) as f64;
        Self {
            rate: answered / load.seconds.max(0.001),
            cpu: (after.cpu - before.cpu) * 1e6 / answered,
            p50: latency.p50,
            p99: latency.p99,
            rss: after.rss,
            ready,
            bad: (load.lost + load.failed) as f64 / (answered + load.lost as f64),
        }
    }
}

fn median(figures: &[Figures], value: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figures of every turn: by transport, the workload's place in the order asked for, and peer.
pub type All = BTreeMap<(Transport, u8, Peer), (Workload, Vec<Figures>)>;

/// Prints a table per transport and workload, each with its ratios: above 1 is better than the other.
pub fn print(all: &All) {
    type Group<'f> = Vec<(Peer, Workload, &'f [Figures])>;
    let mut groups: BTreeMap<(Transport, u8), Group<'_>> = BTreeMap::new();
    for ((transport, number, peer), (workload, figures)) in all {
        let group = groups.entry((*transport, *number)).or_default();
        group.push((*peer, *workload, figures));
    }
    for ((transport, _), group) in groups {
        let Some((_, workload, _)) = group.first() else {
            continue;
        };
        println!(
            "\n{workload:?} over {}, medians of {} runs",
            transport.name(),
            group[0].2.len()
        );
        let cpu = |figures: &[Figures]| median(figures, |figures| figures.cpu);
        let ceiling = group
            .iter()
            .find(|(peer, ..)| *peer == Peer::Ceiling)
            .map(|(_, _, figures)| cpu(figures));
        let best_peer = group
            .iter()
            .filter(|(peer, ..)| !matches!(peer, Peer::Ceiling | Peer::Taciturn))
            .map(|(_, _, figures)| cpu(figures))
            .min_by(f64::total_cmp);
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header([
            "server",
            "queries/s",
            "µs CPU/query",
            "of ceiling",
            "to best peer",
            "p50 µs",
            "p99 µs",
            "RSS MB",
            "ready s",
            "bad %",
        ]);
        for (peer, _, figures) in &group {
            let own = cpu(figures);
            let ratio = |other: Option<f64>| match other {
                Some(other) => format!("{:.2}", other / own),
                None => "-".to_owned(),
            };
            table.add_row([
                peer.name().to_owned(),
                format!("{:.0}", median(figures, |f| f.rate)),
                format!("{own:.2}"),
                ratio(ceiling),
                ratio(best_peer),
                format!("{:.0}", median(figures, |f| f.p50)),
                format!("{:.0}", median(figures, |f| f.p99)),
                format!("{:.1}", median(figures, |f| f.rss as f64 / 1e6)),
                format!("{:.2}", median(figures, |f| f.ready.as_secs_f64())),
                format!("{:.2}", median(figures, |f| f.bad * 100.0)),
            ]);
        }
        println!("{table}");
    }
}

/// The load over HTTPS, which h2load brings. (dnsperf 2.10 takes one answer from each read and loses the rest,
/// so that it stalls with servers that send several at once.)
fn h2load(to: SocketAddr, plan: &Plan, folder: &Path) -> Result<Outcome, String> {
    let file = folder.join("addresses");
    let mut queries = Queries::new(plan.workload, plan.names, plan.cached, plan.run);
    let mut text = String::new();
    let mut wire = Vec::new();
    for _ in 0..50_000 {
        wire.clear();
        queries.next(&mut wire);
        let encoded = data_encoding::BASE64URL_NOPAD.encode(&wire);
        text += &format!("https://{to}/dns-query?dns={encoded}\n");
    }
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let output = Command::new("taskset")
        .args(["-c", LOAD_CORE, "h2load", "-c", "10", "-m", "20", "-t", "1"])
        .args(["-H", "accept: application/dns-message"])
        .args(["-D", &plan.seconds.ceil().to_string(), "-i"])
        .arg(&file)
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`
    let count = |what: &str| -> Option<u64> {
        let line = said.lines().find(|line| line.starts_with("requests:"))?;
        let part = line.split([':', ',']).find(|part| part.ends_with(what))?;
        part.split_whitespace().next()?.parse().ok()
    };
    let answered = count(" succeeded").ok_or_else(|| format!("h2load failed: {said}"))?;
    Ok(Outcome {
        answered,
        lost: count(" errored").unwrap_or(0) + count(" timeout").unwrap_or(0),
        failed: count(" failed").unwrap_or(0),
        seconds: plan.seconds.ceil(),
        p50: f64::NAN,
        p99: f64::NAN,
    })
}

/// The load over streams, which dnsperf brings.
pub fn dnsperf(
    transport: Transport,
    to: SocketAddr,
    plan: &Plan,
    folder: &Path,
) -> Result<Outcome, String> {
    let file = folder.join("queries");
    let mut queries = Queries::new(plan.workload, plan.names, plan.cached, plan.run);
    let mut text = String::new();
    let mut wire = Vec::new();
    for _ in 0..200_000 {
        wire.clear();
        queries.next(&mut wire);
        let name = taciturn::wire::Name::read(&wire[12..]).map_err(|error| error.to_string())?;
        text += &format!("{name} A\n");
    }
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let more: &[&str] = match transport {
        Transport::Udp => &["-m", "udp"],
        Transport::Tcp => &["-m", "tcp"],
        Transport::Dot => &["-m", "dot"],
        Transport::Doh => return h2load(to, plan, folder),
        Transport::Handshakes => &["-m", "dot", "-O", "num-queries-per-conn=1"],
    };
    let output = Command::new("taskset")
        .args(["-c", LOAD_CORE, "dnsperf", "-e", "-c", "10", "-q", "200"])
        .args(more)
        .args(["-s", &to.ip().to_string(), "-p", &to.port().to_string()])
        .args(["-l", &plan.seconds.ceil().to_string(), "-d"])
        .arg(&file)
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |label: &str| -> Option<f64> {
        let line = said.lines().find(|line| line.trim().starts_with(label))?;
        let value = line.split_once(':')?.1;
        value.split_whitespace().next()?.parse().ok()
    };
    let completed = number("Queries completed").ok_or_else(|| format!("dnsperf failed: {said}"))?;
    let average = number("Average Latency (s)").unwrap_or(0.0) * 1e6;
    Ok(Outcome {
        answered: completed as u64,
        lost: number("Queries lost").unwrap_or(0.0) as u64,
        failed: 0,
        seconds: number("Run time (s)").unwrap_or(plan.seconds),
        p50: average,
        p99: f64::NAN,
    })
}
