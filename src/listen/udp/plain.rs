//! A task per socket, on tokio alone.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;

use super::{MAX_QUERY, Taken, Worker};

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

/// A socket that knows where datagrams were sent to.
struct PlainSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
}

/// Starts the task. It ends when `stop` comes.
pub(super) fn start(worker: Worker, socket: UdpSocket, stop: CancellationToken) -> io::Result<()> {
    let state = UdpSocketState::new((&socket).into())?;
    let io = tokio::net::UdpSocket::from_std(socket)?;
    let socket = Arc::new(PlainSocket { io, state });
    let tasks = worker.tasks.clone();
    tasks.spawn(serve(worker, socket, stop));
    Ok(())
}

impl PlainSocket {
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

async fn serve(worker: Worker, socket: Arc<PlainSocket>, stop: CancellationToken) {
    let mut room = vec![0; BATCH * ROOM];
    let mut metas = [RecvMeta::default(); BATCH];
    let mut reply = Vec::with_capacity(4096);
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = socket.receive(&mut room, &mut metas) => received,
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
                let query = &query[..query.len().min(MAX_QUERY)];
                take(&worker, &socket, query, ends, &mut reply).await;
            }
        }
    }
}

async fn take(
    worker: &Worker,
    socket: &Arc<PlainSocket>,
    query: &[u8],
    ends: Ends,
    reply: &mut Vec<u8>,
) {
    let source = worker.source(ends.client);
    let taken = {
        let mut tally = worker.resolver.recorder.tally();
        worker.take(query, &source, worker.now(), &mut tally, reply)
    };
    match taken {
        Taken::Answered => return socket.reply(reply, ends).await,
        Taken::Dropped => return,
        Taken::Later => {}
    }
    let query = query.to_vec();
    let resolver = worker.resolver.clone();
    let socket = socket.clone();
    worker.tasks.spawn(async move {
        if let Some(reply) = resolver.answer(&query, &source).await {
            socket.reply(&reply, ends).await;
        }
    });
}
