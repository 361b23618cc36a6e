//! DNS over UDP (RFC 1035 section 4.2.1).
//!
//! Datagrams are received in batches, and each reply leaves from the address that its query came to: a
//! client drops what comes from another, as a machine with several addresses would otherwise send.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::resolve::{Quick, Resolver, Via};

/// Datagrams, or runs of datagrams, that one system call takes from the socket at most.
const BATCH: usize = 16;
/// Room for a run of datagrams that the kernel put together, in bytes. Pages that are never written to
/// cost nothing.
const ROOM: usize = 65_536;

/// Who sent a datagram, and to which of our addresses.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    ours: Option<IpAddr>,
}

/// A socket that receives in batches and knows where datagrams were sent to.
pub struct BatchSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
}

impl BatchSocket {
    /// Takes over a socket.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Self { io, state })
    }

    /// Waits for datagrams. Returns how many of `metas`, and chunks of [`ROOM`] bytes, were filled.
    async fn receive(&self, room: &mut [u8], metas: &mut [RecvMeta; BATCH]) -> io::Result<usize> {
        self.io
            .async_io(Interest::READABLE, || {
                let mut chunks = room.chunks_exact_mut(ROOM);
                let mut slices: [IoSliceMut<'_>; BATCH] =
                    std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
                self.state.recv((&self.io).into(), &mut slices, metas)
            })
            .await
    }

    /// Sends a reply; one that cannot be sent is lost, as datagrams may be.
    async fn reply(&self, reply: &[u8], ends: Ends) {
        let transmit = Transmit {
            destination: ends.client,
            ecn: None,
            contents: reply,
            segment_size: None,
            src_ip: ends.ours,
        };
        let send = || self.state.try_send((&self.io).into(), &transmit);
        if let Err(error) = self.io.async_io(Interest::WRITABLE, send).await {
            tracing::trace!("UDP send to {}: {error}", ends.client);
        }
    }
}

/// One socket and the task that serves it.
pub struct Worker {
    /// The socket.
    pub socket: Arc<BatchSocket>,
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
        let mut room = vec![0; BATCH * ROOM];
        let mut metas = [RecvMeta::default(); BATCH];
        let mut reply = Vec::with_capacity(4096);
        loop {
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = self.socket.receive(&mut room, &mut metas) => received,
            };
            let received = match received {
                Ok(received) => received,
                // An ICMP error for an earlier reply; the socket is as good as before.
                Err(error) => {
                    tracing::trace!("UDP receive: {error}");
                    continue;
                }
            };
            for (meta, run) in metas[..received].iter().zip(room.chunks_exact(ROOM)) {
                let ends = Ends {
                    client: meta.addr,
                    ours: meta.dst_ip,
                };
                for query in run[..meta.len].chunks(meta.stride.max(1)) {
                    self.take(query, ends, &mut reply).await;
                }
            }
        }
    }

    async fn take(&self, query: &[u8], ends: Ends, reply: &mut Vec<u8>) {
        self.resolver.recorder.totals.udp_queries.add();
        // Port 0 cannot be answered; a reply there would only come back as an error.
        if ends.client.port() == 0 {
            return;
        }
        let via = Via::Udp(self.payload);
        match self.resolver.quick(query, ends.client, via, reply) {
            Quick::Answered => self.socket.reply(reply, ends).await,
            Quick::Unanswered => {
                let query = query.to_vec();
                let resolver = self.resolver.clone();
                let socket = self.socket.clone();
                self.tasks.spawn(async move {
                    if let Some(reply) = resolver.answer(&query, ends.client, via).await {
                        socket.reply(&reply, ends).await;
                    }
                });
            }
        }
    }
}
