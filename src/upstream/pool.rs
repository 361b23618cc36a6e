//! Several servers for the same names: who is asked first, and who when that one fails.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt, once};
use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::DnsHandle;
use hickory_proto::op::{DnsRequest, DnsResponse, ResponseCode};

use super::UpstreamError;
use super::server::Server;
use crate::config::Strategy;

/// One query in so many goes to another server than the fastest, to learn how fast that is now.
const EXPLORE: u64 = 50;
/// The next server is asked when the one before has not answered after so many times its usual time…
const PATIENCE: u32 = 4;
/// …but not before, and not after, these.
const PATIENCE_LIMITS: (Duration, Duration) =
    (Duration::from_millis(80), Duration::from_millis(1000));

/// Servers that answer the same names.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Vec<Arc<Server>>,
    strategy: Strategy,
    deadline: Duration,
    asked: AtomicU64,
}

impl Pool {
    /// A pool of servers; a query may take them at most `deadline` together.
    pub fn new(servers: Vec<Arc<Server>>, strategy: Strategy, deadline: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                servers,
                strategy,
                deadline,
                asked: AtomicU64::new(0),
            }),
        }
    }

    /// The servers, as configured.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.shared.servers
    }

    /// Asks the servers in order until one gives an answer that can be used. One that is silent for longer
    /// than is usual for it is not waited for alone: the next is asked beside it, and the first answer wins.
    ///
    /// # Errors
    ///
    /// The last failure. When servers answered but all with SERVFAIL or REFUSED, that is an answer.
    pub async fn ask(&self, request: &DnsRequest) -> Result<DnsResponse, UpstreamError> {
        let limit = self.shared.deadline;
        match tokio::time::timeout(limit, self.ask_untimed(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(UpstreamError::Timeout {
                server: "every upstream".to_owned(),
                limit,
            }),
        }
    }

    async fn ask_untimed(&self, request: &DnsRequest) -> Result<DnsResponse, UpstreamError> {
        let mut waiting = self.order().into_iter();
        let mut running = FuturesUnordered::new();
        let mut failure = UpstreamError::NoServer;
        let mut unwilling = None;
        loop {
            let next = waiting.next();
            let more = next.is_some();
            let patience = next.as_ref().map(|server| patience(server));
            if let Some(server) = next {
                running.push(async move { server.ask(request).await });
            }
            let answered = match patience {
                Some(patience) => tokio::time::timeout(patience, running.next()).await,
                None => Ok(running.next().await),
            };
            match answered {
                // Not yet: ask the next one, too.
                Err(_) => {}
                Ok(Some(Ok(response))) if is_usable(&response) => return Ok(response),
                Ok(Some(Ok(response))) => unwilling = Some(response),
                Ok(Some(Err(error))) => failure = error,
                Ok(None) if !more => {
                    return unwilling.ok_or(failure);
                }
                Ok(None) => {}
            }
        }
    }

    /// The servers in the order in which they are asked this time.
    fn order(&self) -> Vec<Arc<Server>> {
        let mut servers = self.shared.servers.clone();
        if self.shared.strategy == Strategy::Ordered || servers.len() < 2 {
            return servers;
        }
        servers.sort_by_key(|server| server.speed());
        for server in &servers[1..] {
            server.forgive();
        }
        let asked = self.shared.asked.fetch_add(1, Relaxed);
        if asked % EXPLORE == EXPLORE - 1 {
            let other = 1 + (asked / EXPLORE) as usize % (servers.len() - 1);
            servers.swap(0, other);
        }
        servers
    }
}

fn patience(server: &Server) -> Duration {
    let (least, most) = PATIENCE_LIMITS;
    (server.speed() * PATIENCE).clamp(least, most)
}

/// Whether a response settles the question; else another server may know better.
fn is_usable(response: &DnsResponse) -> bool {
    matches!(
        response.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    )
}

/// The way hickory's DNSSEC validator asks for keys and signatures.
impl DnsHandle for Pool {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let pool = self.clone();
        Box::pin(once(async move {
            pool.ask(&request)
                .await
                .map_err(|error| NetError::from(error.to_string()))
        }))
    }
}
