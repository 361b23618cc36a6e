//! taciturn beside its peers: the same list, the same upstream, the same load.
//!
//! `cargo bench --bench peers` runs everything and prints one table per workload; `-- growth` shows how taciturn
//! grows; `-- --help` lists what can be chosen. Every server runs on one core, the load and the upstream on another; the servers take turns, and
//! each figure is the median of the turns.

mod flood;
mod growth;
mod names;
mod peers;
mod process;
mod servers;
mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, Subcommand};

use flood::{Outcome, Plan};
use names::Workload;
use peers::{Peer, Setting};
use process::{LOAD_CORE, Running, SERVER_CORE};
use table::{Figures, Transport};

const SERVER: &str = "127.0.0.1:53530";
const UPSTREAM: &str = "127.0.0.1:53532";
const TLS: &str = "127.0.0.1:53540";
const HTTPS: &str = "127.0.0.1:53542";

/// taciturn beside its peers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Only these servers.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Only these transports.
    #[arg(long, value_delimiter = ',')]
    transports: Vec<Transport>,
    /// Turns of each server.
    #[arg(long, default_value_t = 5)]
    runs: u64,
    /// Seconds for each workload and turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Names on the list.
    #[arg(long, default_value_t = 1_000_000)]
    names: u64,
    /// Queries a second while latency is measured.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the benchmark's own processes do.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Ceiling { address: SocketAddr },
    #[command(hide = true)]
    Upstream { address: SocketAddr },
    #[command(hide = true)]
    Flood(Plan),
    /// How taciturn grows: with names on lists, names in the cache, connections, workers.
    Growth,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    match &arguments.part {
        Some(Part::Ceiling { address }) => servers::ceiling(*address),
        Some(Part::Upstream { address }) => servers::upstream(*address),
        Some(Part::Flood(plan)) => {
            let outcome = flood::run(plan);
            println!("{}", serde_json::json!(outcome));
            return ExitCode::SUCCESS;
        }
        Some(Part::Growth) => return growth::run(arguments.seconds),
        None => {}
    }
    if arguments.peers.is_empty() {
        arguments.peers = Peer::ALL.to_vec();
    }
    if arguments.workloads.is_empty() {
        arguments.workloads = vec![
            Workload::Blocked,
            Workload::Cached,
            Workload::Miss,
            Workload::Mixed,
        ];
    }
    if arguments.transports.is_empty() {
        arguments.transports = Transport::ALL.to_vec();
    }
    if !complete(&mut arguments) {
        return ExitCode::FAILURE;
    }
    let mut figures = BTreeMap::new();
    for run in 1..=arguments.runs {
        for peer in arguments.peers.clone() {
            eprintln!("run {run} of {}: {}", arguments.runs, peer.name());
            if let Err(why) = turn(&arguments, peer, run, &mut figures) {
                eprintln!("  {} is left out of this run: {why}", peer.name());
            }
        }
    }
    table::print(&figures);
    ExitCode::SUCCESS
}

/// Names what is missing, and leaves out the servers that are; `false` when nothing can be measured.
fn complete(arguments: &mut Arguments) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        eprintln!("this needs two cores: one for the server, one for the load");
        return false;
    }
    if process::find("taskset").is_none() {
        eprintln!("missing: taskset (apt-get install util-linux)");
        return false;
    }
    if process::find("dnsperf").is_none() {
        eprintln!("missing: dnsperf (apt-get install dnsperf); all but UDP is left out");
        arguments
            .transports
            .retain(|transport| *transport == Transport::Udp);
    }
    if process::find("h2load").is_none() {
        eprintln!("missing: h2load (apt-get install nghttp2-client); HTTPS is left out");
        arguments
            .transports
            .retain(|transport| *transport != Transport::Doh);
    }
    arguments.peers.retain(|peer| match peer.program() {
        Some((program, mend)) if process::find(program).is_none() => {
            eprintln!("missing: {program} ({mend}); {} is left out", peer.name());
            false
        }
        _ => true,
    });
    true
}

/// A server that answers, with the upstream it asks.
struct Turn {
    server: Running,
    _upstream: Running,
    folder: tempfile::TempDir,
    /// From its start to its first answer.
    ready: Duration,
}

impl Turn {
    /// Starts a server with a list of so many names and so many workers on these cores, and waits for its
    /// first answer, which has to be that a listed name is blocked.
    fn start(peer: Peer, names: u64, workers: usize, cores: &str) -> Result<Self, String> {
        let words = |error: std::io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(words)?;
        let (listen, upstream) = (address(SERVER), address(UPSTREAM));
        let upstream_log = folder.path().join("upstream.log");
        let arguments = ["upstream".to_owned(), UPSTREAM.to_owned()];
        let own = own()?;
        let upstream_runs =
            Running::start(LOAD_CORE, &own, &arguments, &upstream_log).map_err(words)?;
        let setting = Setting {
            folder: folder.path(),
            listen,
            tls: address(TLS),
            https: address(HTTPS),
            upstream,
            names,
            workers,
        };
        peers::write_certificate(folder.path())?;
        let start = peer.prepare(&setting).map_err(words)?;
        let log = folder.path().join("log");
        let mut server =
            Running::start(cores, &start.program, &start.arguments, &log).map_err(words)?;
        let query = names::query(&names::listed(1));
        let patience = Duration::from_secs(120);
        let Some((ready, answer)) = process::first_answer(&mut server, listen, &query, patience)
        else {
            return Err(format!("no answer; it said: {}", end_of(&log)));
        };
        if peer != Peer::Ceiling && !is_blocked(&answer) {
            return Err(format!("it does not block what is listed: {answer:?}"));
        }
        Ok(Self {
            server,
            _upstream: upstream_runs,
            folder,
            ready,
        })
    }

    /// Asks for every popular name once.
    fn warm(&self, cached: u64) -> Result<(), String> {
        let plan = Plan {
            warm: true,
            cached,
            ..plan(Workload::Cached)
        };
        let warmed = load(&plan)?;
        match warmed.failed + warmed.lost > cached / 100 {
            true => Err(format!(
                "it does not forward: {warmed:?}; {}",
                end_of(&self.folder.path().join("log"))
            )),
            false => Ok(()),
        }
    }
}

/// A load of the usual kind.
fn plan(workload: Workload) -> Plan {
    Plan {
        to: address(SERVER),
        workload,
        names: 1_000_000,
        cached: names::POPULAR,
        run: 1,
        seconds: 0.0,
        window: 100,
        rate: 0,
        warm: false,
    }
}

fn own() -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.display().to_string())
}

/// One server's turn: start, warm up, measure every workload, stop.
fn turn(arguments: &Arguments, peer: Peer, run: u64, all: &mut table::All) -> Result<(), String> {
    let turn = Turn::start(peer, arguments.names, 1, SERVER_CORE)?;
    let plan = |transport: Transport, workload, seconds, rate| Plan {
        names: arguments.names,
        run: run * 8 + transport as u64,
        seconds,
        rate,
        ..plan(workload)
    };
    let mut warm = false;
    for &workload in &arguments.workloads {
        // Not before: what is blocked shows the memory that the list takes, without a cache beside it.
        if peer.forwards() && workload != Workload::Blocked && !warm {
            turn.warm(names::POPULAR)?;
            warm = true;
        }
        if !peer.forwards() && workload != Workload::Blocked && peer != Peer::Ceiling {
            continue;
        }
        for &transport in &arguments.transports {
            if !peer.speaks(transport) || !transport.shows(workload) {
                continue;
            }
            let before = turn.server.usage();
            let heavy = plan(transport, workload, arguments.seconds, 0);
            let outcome = match transport {
                Transport::Udp => load(&heavy)?,
                other => table::dnsperf(other, endpoint(other), &heavy, turn.folder.path())?,
            };
            let after = turn.server.usage();
            let latency = match transport {
                Transport::Udp => load(&plan(transport, workload, 1.0, arguments.rate))?,
                _ => outcome.clone(),
            };
            let figures = Figures::new(&outcome, &latency, before, after, turn.ready);
            let key = (transport, workload as u8, peer);
            let entry = all.entry(key).or_insert_with(|| (workload, Vec::new()));
            entry.1.push(figures);
        }
    }
    Ok(())
}

/// Where a transport is listened for.
fn endpoint(transport: Transport) -> SocketAddr {
    address(match transport {
        Transport::Udp | Transport::Tcp => SERVER,
        Transport::Dot | Transport::Handshakes => TLS,
        Transport::Doh => HTTPS,
    })
}

/// Runs the load in a process on its own core.
fn load(plan: &Plan) -> Result<Outcome, String> {
    let mut command = Command::new("taskset");
    command.args(["-c", LOAD_CORE, &own()?, "flood"]);
    let workload = clap::ValueEnum::to_possible_value(&plan.workload);
    for (name, value) in [
        ("--to", plan.to.to_string()),
        (
            "--workload",
            workload.map_or_else(String::new, |w| w.get_name().to_owned()),
        ),
        ("--names", plan.names.to_string()),
        ("--cached", plan.cached.to_string()),
        ("--run", plan.run.to_string()),
        ("--seconds", plan.seconds.to_string()),
        ("--window", plan.window.to_string()),
        ("--rate", plan.rate.to_string()),
    ] {
        command.args([name, &value]);
    }
    if plan.warm {
        command.arg("--warm");
    }
    let output = command.output().map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        format!(
            "the load failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a constant address")
}

/// NXDOMAIN, or an answer that ends in 0.0.0.0 (an OPT record may come behind it).
fn is_blocked(answer: &[u8]) -> bool {
    let null = [0, 4, 0, 0, 0, 0];
    answer[3] & 0x0f == 3 || answer.windows(null.len()).any(|window| window == null)
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
