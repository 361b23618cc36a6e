//! How taciturn grows: the same load with ever more names on its lists, names in its cache, connections, workers.
//!
//! The slope between two rows is the exponent by which a figure grew: 1 is as fast as the thing itself, 0 not
//! at all. Nothing may be above 1.

use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::Table;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use crate::flood::Plan;
use crate::names::Workload;
use crate::peers::Peer;
use crate::process::{SERVER_CORE, Usage};
use crate::table::Transport;
use crate::{Turn, endpoint, load, plan};

/// Characters of the longest bar.
const BAR: f64 = 30.0;

/// What one size showed.
struct Row {
    size: u64,
    rate: f64,
    /// Microseconds per answer.
    cpu: f64,
    rss: f64,
    ready: f64,
}

type Outcome = Result<Row, String>;

/// What grows, through which sizes, and how each is measured.
type Part<'p> = (&'p str, &'p [u64], &'p dyn Fn(u64) -> Outcome);

/// Measures and prints everything, `seconds` at a time.
pub fn run(seconds: f64) -> ExitCode {
    let both = format!("{SERVER_CORE},{}", crate::process::LOAD_CORE);
    let names = |size| {
        let plan = Plan {
            names: size,
            ..plan(Workload::Blocked)
        };
        measure(size, &plan, seconds, 0, 1, SERVER_CORE)
    };
    let cached = |size| {
        let plan = Plan {
            cached: size,
            ..plan(Workload::Cached)
        };
        measure(size, &plan, seconds, size, 1, SERVER_CORE)
    };
    let workers = |size| {
        let plan = plan(Workload::Mixed);
        measure(size, &plan, seconds, plan.cached, size as usize, &both)
    };
    let connections = |size| idle_connections(size, seconds);
    let parts: [Part<'_>; 4] = [
        (
            "names on lists, blocked over UDP",
            &[10_000, 100_000, 1_000_000, 10_000_000],
            &names,
        ),
        (
            "names in the cache, cached over UDP",
            &[1000, 10_000, 100_000, 1_000_000],
            &cached,
        ),
        (
            "idle TLS connections, cached over UDP",
            &[1, 10, 100, 1000, 9000],
            &connections,
        ),
        (
            "workers, mixed over UDP, load on the same two cores",
            &[1, 2],
            &workers,
        ),
    ];
    let mut failed = false;
    for (what, sizes, measure) in parts {
        let mut rows = Vec::new();
        for &size in sizes {
            eprintln!("{size} {what}");
            match measure(size) {
                Ok(row) => rows.push(row),
                Err(why) => {
                    eprintln!("  left out: {why}");
                    failed = true;
                }
            }
        }
        print(what, &rows);
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn measure(
    size: u64,
    plan: &Plan,
    seconds: f64,
    warm: u64,
    workers: usize,
    cores: &str,
) -> Outcome {
    let turn = Turn::start(Peer::Taciturn, plan.names, workers, cores)?;
    if warm > 0 {
        turn.warm(warm)?;
    }
    under_load(size, &turn, plan, seconds)
}

fn under_load(size: u64, turn: &Turn, plan: &Plan, seconds: f64) -> Outcome {
    let before: Usage = turn.server.usage();
    let outcome = load(&Plan {
        seconds,
        ..plan.clone()
    })?;
    let after = turn.server.usage();
    let answered = outcome.answered.max(1) as f64;
    Ok(Row {
        size,
        rate: answered / outcome.seconds.max(0.001),
        cpu: (after.cpu - before.cpu) * 1e6 / answered,
        rss: after.rss as f64,
        ready: turn.ready.as_secs_f64(),
    })
}

/// The load beside so many connections over TLS that say nothing more after their handshake.
fn idle_connections(size: u64, seconds: f64) -> Outcome {
    let turn = Turn::start(Peer::Taciturn, 10_000, 1, SERVER_CORE)?;
    turn.warm(1000)?;
    let words = |error: std::io::Error| error.to_string();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let config = Arc::new(config);
    let mut open = Vec::new();
    let before = turn.server.usage().rss;
    for _ in 0..size {
        let name = ServerName::try_from("bench.test").map_err(|error| error.to_string())?;
        let stream = TcpStream::connect(endpoint(Transport::Dot)).map_err(words)?;
        let client = ClientConnection::new(config.clone(), name).map_err(|e| e.to_string())?;
        let mut stream = StreamOwned::new(client, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(words)?;
        }
        open.push(stream);
    }
    std::thread::sleep(Duration::from_millis(300));
    let after = turn.server.usage().rss;
    let each = after.saturating_sub(before) as f64 / size as f64;
    eprintln!("  {each:.0} bytes of memory for each");
    let plan = Plan {
        cached: 1000,
        ..plan(Workload::Cached)
    };
    under_load(size, &turn, &plan, seconds)
}

/// A client that takes any certificate: who answers is not what is measured.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn print(what: &str, rows: &[Row]) {
    println!("\nWith ever more {what}");
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "size",
        "queries/s",
        "",
        "µs CPU/query",
        "slope",
        "RSS MB",
        "",
        "slope",
        "ready s",
    ]);
    let most = |value: fn(&Row) -> f64| rows.iter().map(value).fold(0.0, f64::max);
    let bar = |value: f64, most: f64| "█".repeat((value / most.max(1e-9) * BAR) as usize);
    let (fastest, largest) = (most(|row| row.rate), most(|row| row.rss));
    for (at, row) in rows.iter().enumerate() {
        let slope = |value: fn(&Row) -> f64| match at.checked_sub(1).map(|at| &rows[at]) {
            Some(last) => {
                let grown = (value(row) / value(last)).ln();
                format!("{:.2}", grown / (row.size as f64 / last.size as f64).ln())
            }
            None => String::new(),
        };
        table.add_row([
            row.size.to_string(),
            format!("{:.0}", row.rate),
            bar(row.rate, fastest),
            format!("{:.2}", row.cpu),
            slope(|row| row.cpu),
            format!("{:.1}", row.rss / 1e6),
            bar(row.rss, largest),
            slope(|row| row.rss),
            format!("{:.2}", row.ready),
        ]);
    }
    println!("{table}");
}
