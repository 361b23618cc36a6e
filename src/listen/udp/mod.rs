//! DNS over UDP (RFC 1035 section 4.2.1), in two ways with one meaning.
//!
//! `batched` is a thread per socket that moves many datagrams with one system call; Linux has the calls for
//! it. `plain` is a task per socket, for other systems and for sandboxes that lack those calls. Either way
//! each reply leaves from the address that its query came to: a client drops what comes from another, as a
//! machine with several addresses would otherwise send.

#[cfg(target_os = "linux")]
mod batched;
mod plain;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rate::{Allowance, Rate};
use crate::record::Tally;
use crate::resolve::{Quick, Resolver, Source, Via};
use crate::wire::reply;

/// The longest query that is read, in bytes; what is cut short by it cannot be read as a query.
const MAX_QUERY: usize = 4096;

/// What came of a datagram.
enum Taken {
    /// The reply is in the buffer.
    Answered,
    /// The general path has to look at it.
    Later,
    /// Nothing is said to it.
    Dropped,
}

/// What every socket's thread or task needs.
#[derive(Clone)]
pub struct Worker {
    /// What answers.
    pub resolver: Arc<Resolver>,
    /// Where tasks for slow answers are tracked.
    pub tasks: TaskTracker,
    /// The largest reply in bytes.
    pub payload: usize,
    /// How fast a client may ask.
    pub rate: Option<Arc<Rate>>,
}

impl Worker {
    /// Serves a socket until `stop`, in batches where that is wanted and the system can.
    ///
    /// # Errors
    ///
    /// When the socket cannot be set up.
    pub fn start(
        self,
        socket: UdpSocket,
        batches: bool,
        stop: CancellationToken,
    ) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if batches {
            return batched::start(self, socket, stop);
        }
        let _ = batches;
        plain::start(self, socket, stop)
    }

    /// Answers a datagram into `out` if that can be done at once and its client does not ask too fast.
    fn take(
        &self,
        query: &[u8],
        source: &Source,
        now: u64,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) -> Taken {
        tally.totals.udp_queries += 1;
        // Port 0 cannot be answered; a reply there would only come back as an error.
        if source.address.port() == 0 {
            return Taken::Dropped;
        }
        let allowance = self.allowance(query, source.address, now);
        if allowance != Allowance::Pass {
            tally.totals.rate_limited += 1;
            return match allowance == Allowance::Slip && reply::slip(out, query) {
                true => Taken::Answered,
                false => Taken::Dropped,
            };
        }
        match self.resolver.quick(query, source, tally, out) {
            Quick::Answered => Taken::Answered,
            Quick::Unanswered => Taken::Later,
        }
    }

    /// What is done with a query of a client, by how fast it asks. A client that proved its address by a cookie
    /// is no flood in another's name.
    fn allowance(&self, query: &[u8], client: SocketAddr, now: u64) -> Allowance {
        let Some(rate) = &self.rate else {
            return Allowance::Pass;
        };
        match rate.take(client.ip(), now) {
            Allowance::Pass => Allowance::Pass,
            _ if self.resolver.is_at_home(query, client.ip()) => Allowance::Pass,
            other => other,
        }
    }

    /// Now, for [`take`](Self::take): once for many datagrams.
    fn now(&self) -> u64 {
        self.rate.as_ref().map_or(0, |rate| rate.now())
    }

    fn source(&self, client: SocketAddr) -> Source {
        Source {
            address: client,
            label: None,
            via: Via::Udp(self.payload),
        }
    }
}
