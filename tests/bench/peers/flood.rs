//! The load over UDP: one thread that keeps so many queries under way, or sends so many a second.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use taciturn::sys::datagrams::{BATCH, BatchSocket, Ends, Inbox, Outbox};

use crate::names::{Queries, Workload};

/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// What to do.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    #[arg(long)]
    pub to: SocketAddr,
    #[arg(long)]
    pub workload: Workload,
    #[arg(long)]
    pub names: u64,
    /// Popular names.
    #[arg(long)]
    pub cached: u64,
    #[arg(long)]
    pub run: u64,
    #[arg(long)]
    pub seconds: f64,
    /// Queries under way at once.
    #[arg(long, default_value_t = 100)]
    pub window: usize,
    /// Queries a second; as many as come back when zero.
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Ask for every popular name once, and no more.
    #[arg(long)]
    pub warm: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub answered: u64,
    pub lost: u64,
    /// Answers with another response code than NOERROR.
    pub failed: u64,
    pub seconds: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

struct UnderWay {
    since: Vec<Option<Instant>>,
    /// Identifiers that are free.
    free: Vec<u16>,
}

pub fn run(plan: &Plan) -> Outcome {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let socket = BatchSocket::new(socket).expect("a batch socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a time-out");
    let ends = Ends {
        client: plan.to,
        ours: None,
    };
    let mut queries = Queries::new(plan.workload, plan.names, plan.cached, plan.run);
    let mut warm = (0..plan.cached).map(|n| crate::names::query(&crate::names::popular(n)));
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    let mut under_way = UnderWay {
        since: vec![None; 65_536],
        free: (0..plan.window as u16).rev().collect(),
    };
    let mut outcome = Outcome::default();
    let mut latencies = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(plan.seconds);
    let mut sent = 0u64;
    let mut last_sweep = start;
    let mut done = false;
    loop {
        let now = Instant::now();
        if now >= end && !plan.warm {
            done = true;
        }
        let due = match plan.rate {
            0 => u64::MAX,
            rate => ((now - start).as_secs_f64() * rate as f64) as u64,
        };
        while !done && outbox.len() < BATCH && sent < due {
            let Some(id) = under_way.free.pop() else {
                break;
            };
            let Some(room) = outbox.room() else {
                break;
            };
            room.clear();
            match (plan.warm, warm.next()) {
                (true, Some(query)) => room.extend_from_slice(&query),
                (true, None) => {
                    under_way.free.push(id);
                    done = true;
                    break;
                }
                (false, _) => queries.next(room),
            }
            room[..2].copy_from_slice(&id.to_be_bytes());
            under_way.since[usize::from(id)] = Some(now);
            outbox.add(ends);
            sent += 1;
        }
        if !outbox.is_empty() {
            socket.send(&mut outbox);
        }
        let waiting = under_way.free.len() < plan.window;
        if waiting && socket.receive(&mut inbox).is_ok() {
            let now = Instant::now();
            for (answer, _) in inbox.datagrams() {
                let id = u16::from_be_bytes([answer[0], answer[1]]);
                let Some(since) = under_way.since[usize::from(id)].take() else {
                    continue;
                };
                under_way.free.push(id);
                outcome.answered += 1;
                outcome.failed += u64::from(answer[3] & 0x0f != 0);
                latencies.push((now - since).as_nanos() as u32);
            }
        }
        if now - last_sweep > Duration::from_millis(100) || done {
            last_sweep = now;
            for (id, since) in under_way.since.iter_mut().enumerate().take(plan.window) {
                if since.is_some_and(|since| now - since > PATIENCE) {
                    *since = None;
                    under_way.free.push(id as u16);
                    outcome.lost += 1;
                }
            }
        }
        if done && under_way.free.len() == plan.window {
            break;
        }
    }
    outcome.seconds = (Instant::now().min(end.max(start)) - start).as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| match latencies.len() {
        0 => 0.0,
        len => f64::from(latencies[((len - 1) as f64 * share) as usize]) / 1000.0,
    };
    (outcome.p50, outcome.p99) = (at(0.5), at(0.99));
    outcome
}
