//! Accepting connections (RFC 7766), within limits; what they carry is up to the [`Door`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::stream::Streams;
use super::tls::Tls;
use crate::resolve::{Source, Via};

/// How long to wait when the system has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection goes through.
pub enum Door {
    /// Nothing: plain DNS.
    Plain(Streams),
    /// A TLS handshake first.
    Tls(Tls),
}

impl Door {
    fn streams(&self) -> &Streams {
        match self {
            Self::Plain(streams) => streams,
            Self::Tls(tls) => tls.streams(),
        }
    }

    async fn serve(&self, stream: TcpStream, address: SocketAddr, stop: &CancellationToken) {
        match self {
            Self::Plain(streams) => {
                let source = Source {
                    address,
                    label: None,
                    via: Via::Tcp(streams.idle),
                };
                let mut stream = stream;
                streams.serve(&mut stream, &source, stop).await;
            }
            Self::Tls(tls) => tls.serve(stream, address, stop).await,
        }
    }
}

/// Accepts connections on one address.
pub struct Listener {
    listener: TcpListener,
    limits: Arc<Limits>,
    door: Arc<Door>,
}

impl Listener {
    /// Accepts on `listener`: so many connections in total, and from one client.
    pub fn new(listener: TcpListener, total: usize, per_client: usize, door: Door) -> Self {
        Self {
            listener,
            limits: Limits::new(total, per_client),
            door: Arc::new(door),
        }
    }

    /// Accepts until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Streams {
            resolver, tasks, ..
        } = self.door.streams().clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("a TCP connection cannot be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match self.limits.take(address.ip()) {
                Some(place) => {
                    resolver.recorder.tally().totals.connections += 1;
                    // Replies are whole messages; waiting to fill a segment only delays them.
                    let _ = stream.set_nodelay(true);
                    let (door, stop) = (self.door.clone(), stop.clone());
                    tasks.spawn(async move {
                        door.serve(stream, address, &stop).await;
                        drop(place);
                    });
                }
                // Closed at once: the client may come back over UDP.
                None => resolver.recorder.tally().totals.connections_refused += 1,
            }
        }
    }
}
