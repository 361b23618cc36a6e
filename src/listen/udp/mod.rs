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

use crate::resolve::{Resolver, Source, Via};

/// The longest query that is read, in bytes; what is cut short by it cannot be read as a query.
const MAX_QUERY: usize = 4096;

/// What every socket's thread or task needs.
#[derive(Clone)]
pub struct Worker {
    /// What answers.
    pub resolver: Arc<Resolver>,
    /// Where tasks for slow answers are tracked.
    pub tasks: TaskTracker,
    /// The largest reply in bytes.
    pub payload: usize,
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

    fn source(&self, client: SocketAddr) -> Source {
        Source {
            address: client,
            label: None,
            via: Via::Udp(self.payload),
        }
    }
}
