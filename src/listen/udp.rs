//! DNS over UDP (RFC 1035 section 4.2.1).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::resolve::{Quick, Resolver, Via};

/// The longest query that is read, in bytes. No client sends a longer one over UDP; the rest is cut off,
/// and a query that was cut is malformed.
const QUERY_LIMIT: usize = 4096;

/// One socket and the task that serves it.
pub struct Worker {
    /// The socket.
    pub socket: Arc<UdpSocket>,
    /// What answers.
    pub resolver: Arc<Resolver>,
    /// Where tasks for slow answers are tracked.
    pub tasks: TaskTracker,
    /// The largest reply in bytes.
    pub payload: usize,
}

impl Worker {
    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut query = vec![0; QUERY_LIMIT];
        let mut reply = Vec::with_capacity(QUERY_LIMIT);
        loop {
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = self.socket.recv_from(&mut query) => received,
            };
            match received {
                Ok((length, source)) => self.take(&query[..length], source, &mut reply).await,
                // An ICMP error for an earlier reply; the socket is as good as before.
                Err(error) => tracing::trace!("UDP receive: {error}"),
            }
        }
    }

    async fn take(&self, query: &[u8], source: SocketAddr, reply: &mut Vec<u8>) {
        self.resolver.recorder.totals.udp_queries.add();
        // Port 0 cannot be answered; a reply there would only come back as an error.
        if source.port() == 0 {
            return;
        }
        let via = Via::Udp(self.payload);
        match self.resolver.quick(query, source, via, reply) {
            Quick::Answered => send(&self.socket, reply, source).await,
            Quick::Unanswered => {
                let query = query.to_vec();
                let resolver = self.resolver.clone();
                let socket = self.socket.clone();
                self.tasks.spawn(async move {
                    if let Some(reply) = resolver.answer(&query, source, via).await {
                        send(&socket, &reply, source).await;
                    }
                });
            }
        }
    }
}

/// Sends a reply; one that cannot be sent is lost, as datagrams may be.
async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(reply, to).await {
        tracing::trace!("UDP send to {to}: {error}");
    }
}
