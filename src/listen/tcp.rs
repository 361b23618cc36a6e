//! DNS over TCP (RFC 7766): pipelined queries, answers as they are ready, and limits for the idle and the
//! slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::{Limits, Place};
use crate::config::Listen;
use crate::resolve::{Quick, Resolver, Via};
use crate::wire::MAX_MESSAGE;

/// How long a client may take to accept a reply before it is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait when the system has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections on one address.
pub struct Listener {
    listener: TcpListener,
    limits: Arc<Limits>,
    shared: Arc<Shared>,
}

/// What every connection needs.
struct Shared {
    resolver: Arc<Resolver>,
    tasks: TaskTracker,
    idle: Duration,
    pipeline: usize,
}

impl Listener {
    /// Accepts on `listener` within the limits of `settings`.
    pub fn new(
        listener: TcpListener,
        resolver: Arc<Resolver>,
        tasks: TaskTracker,
        settings: &Listen,
    ) -> Self {
        Self {
            listener,
            limits: Limits::new(
                settings.tcp_connections,
                settings.tcp_connections_per_address,
            ),
            shared: Arc::new(Shared {
                resolver,
                tasks,
                idle: settings.tcp_idle.0,
                pipeline: settings.tcp_pipeline,
            }),
        }
    }

    /// Accepts until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let recorder = &self.shared.resolver.recorder;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("a TCP connection cannot be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match self.limits.take(peer.ip()) {
                Some(place) => {
                    recorder.tally().totals.connections += 1;
                    let connection = self.shared.clone().serve(stream, peer, place, stop.clone());
                    self.shared.tasks.spawn(connection);
                }
                // Closed at once: the client may come back over UDP.
                None => recorder.tally().totals.connections_refused += 1,
            }
        }
    }
}

impl Shared {
    /// Serves one connection until the client closes it, is idle for too long, sends what is no DNS, or
    /// `stop` comes; queries under way are answered before it ends.
    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _place: Place,
        stop: CancellationToken,
    ) {
        // Replies are whole messages; waiting to fill a segment only delays them.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let mut frames = LengthDelimitedCodec::builder()
            .length_field_type::<u16>()
            .max_frame_length(MAX_MESSAGE)
            .new_read(reader);
        let (replies, ready) = mpsc::channel(self.pipeline);
        let broken = CancellationToken::new();
        let writing = self.tasks.spawn(write(writer, ready, broken.clone()));
        let slots = Arc::new(Semaphore::new(self.pipeline));
        loop {
            let frame = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = broken.cancelled() => break,
                frame = next(&mut frames, self.idle, &slots, self.pipeline) => frame,
            };
            let Some(frame) = frame else {
                break;
            };
            let mut reply = Vec::new();
            match self.quick(&frame, peer, &mut reply) {
                Quick::Answered => {
                    if replies.send(reply).await.is_err() {
                        break;
                    }
                }
                Quick::Unanswered => {
                    // Past the limit of queries under way the connection is simply not read from.
                    let Ok(slot) = slots.clone().acquire_owned().await else {
                        break;
                    };
                    let resolver = self.resolver.clone();
                    let replies = replies.clone();
                    self.tasks.spawn(async move {
                        if let Some(reply) = resolver.answer(&frame, peer, Via::Tcp).await {
                            let _ = replies.send(reply).await;
                        }
                        drop(slot);
                    });
                }
            }
        }
        drop(replies);
        let _ = writing.await;
    }

    fn quick(&self, message: &[u8], peer: SocketAddr, reply: &mut Vec<u8>) -> Quick {
        let mut tally = self.resolver.recorder.tally();
        tally.totals.tcp_queries += 1;
        self.resolver
            .quick(message, peer, Via::Tcp, &mut tally, reply)
    }
}

/// The next message; `None` when the connection is to be closed. A client that waits for answers is not
/// idle.
async fn next(
    frames: &mut FramedRead<tokio::net::tcp::OwnedReadHalf, LengthDelimitedCodec>,
    idle: Duration,
    slots: &Semaphore,
    pipeline: usize,
) -> Option<Bytes> {
    loop {
        match tokio::time::timeout(idle, frames.next()).await {
            Ok(Some(Ok(frame))) => return Some(frame.freeze()),
            Ok(Some(Err(_)) | None) => return None,
            Err(_) if slots.available_permits() < pipeline => {}
            Err(_) => return None,
        }
    }
}

/// Writes replies until there are no more; several that are ready go out together.
async fn write(
    writer: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Vec<u8>>,
    broken: CancellationToken,
) {
    let mut writer = BufWriter::new(writer);
    while let Some(reply) = replies.recv().await {
        let writing = async {
            let mut next = Some(reply);
            while let Some(reply) = next {
                writer.write_u16(reply.len() as u16).await?;
                writer.write_all(&reply).await?;
                next = replies.try_recv().ok();
            }
            writer.flush().await
        };
        if !matches!(tokio::time::timeout(WRITE_LIMIT, writing).await, Ok(Ok(()))) {
            // Whoever still works on an answer finds the channel closed.
            broken.cancel();
            return;
        }
    }
}
