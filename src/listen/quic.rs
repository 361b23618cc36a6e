//! DNS over QUIC (RFC 9250): a stream for each query.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, VarInt};
use rustls::ServerConfig;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::stream::Streams;
use crate::device::Caller;
use crate::resolve::{Source, Via};
use crate::wire::MAX_MESSAGE;

/// How long a client may take for its handshake, and to send a query.
const LIMIT: Duration = Duration::from_secs(5);
/// Why a connection is closed (RFC 9250 section 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);

/// Accepts connections on one address.
pub struct Listener {
    endpoint: Endpoint,
    limits: Arc<Limits>,
    streams: Streams,
}

impl Listener {
    /// Accepts on `socket`: so many connections in total, and from one client.
    ///
    /// # Errors
    ///
    /// When the socket or the TLS configuration cannot be used.
    pub fn new(
        socket: UdpSocket,
        total: usize,
        per_client: usize,
        tls: ServerConfig,
        streams: Streams,
    ) -> io::Result<Self> {
        let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
        let mut transport = quinn::TransportConfig::default();
        let at_once = VarInt::try_from(streams.pipeline as u64).unwrap_or(VarInt::MAX);
        transport
            .max_concurrent_bidi_streams(at_once)
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(streams.idle.try_into().ok());
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)?;
        Ok(Self {
            endpoint,
            limits: Limits::new(total, per_client),
            streams,
        })
    }

    /// Accepts until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Streams {
            resolver, tasks, ..
        } = self.streams.clone();
        loop {
            let incoming = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else {
                return;
            };
            let address = incoming.remote_address();
            match self.limits.take(address.ip()) {
                Some(place) => {
                    resolver.recorder.tally().totals.connections += 1;
                    let (streams, stop) = (self.streams.clone(), stop.clone());
                    tasks.spawn(async move {
                        serve(&streams, incoming, address, &stop).await;
                        drop(place);
                    });
                }
                None => {
                    resolver.recorder.tally().totals.connections_refused += 1;
                    incoming.refuse();
                }
            }
        }
        self.endpoint.close(NO_ERROR, b"");
        self.endpoint.wait_idle().await;
    }
}

async fn serve(
    streams: &Streams,
    incoming: Incoming,
    address: SocketAddr,
    stop: &CancellationToken,
) {
    let connection = match timeout(LIMIT, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!("QUIC handshake with {address}: {error}"),
        Err(_) => return tracing::debug!("QUIC handshake with {address} took too long"),
    };
    let label = match caller(streams, &connection) {
        Some(Caller::Device(label)) => Some(label),
        Some(Caller::Anybody) => None,
        None => return,
    };
    let source = Arc::new(Source {
        address,
        label,
        via: Via::Quic,
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return connection.close(NO_ERROR, b""),
            accepted = connection.accept_bi() => accepted,
        };
        // The client is gone, or was idle for too long.
        let Ok((send, receive)) = accepted else {
            return;
        };
        let (streams, source) = (streams.clone(), source.clone());
        let connection = connection.clone();
        let tasks = streams.tasks.clone();
        tasks.spawn(async move {
            if let Err(code) = answer(&streams, &source, send, receive).await {
                connection.close(code, b"");
            }
        });
    }
}

fn caller(streams: &Streams, connection: &Connection) -> Option<Caller> {
    let data = connection
        .handshake_data()?
        .downcast::<HandshakeData>()
        .ok()?;
    let live = streams.resolver.live();
    live.devices.caller(data.server_name.as_deref())
}

/// Answers the query of a stream. An error closes the whole connection.
async fn answer(
    streams: &Streams,
    source: &Source,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<(), VarInt> {
    let reading = receive.read_to_end(2 + MAX_MESSAGE);
    let Ok(Ok(frame)) = timeout(LIMIT, reading).await else {
        // A stream that its client gave up is no fault of the connection.
        return Ok(());
    };
    let Some(message) = message(&frame) else {
        return Err(PROTOCOL_ERROR);
    };
    let resolver = &streams.resolver;
    resolver.recorder.tally().totals.quic_queries += 1;
    let Some(reply) = resolver.answer(message, source).await else {
        return Err(PROTOCOL_ERROR);
    };
    let length = u16::try_from(reply.len()).map_err(|_| INTERNAL_ERROR)?;
    let mut frame = Vec::with_capacity(2 + reply.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&reply);
    if send.write_all(&frame).await.is_ok() {
        let _ = send.finish();
    }
    Ok(())
}

/// The one message of a stream, whose identifier is zero (RFC 9250 section 4.2.1).
fn message(frame: &[u8]) -> Option<&[u8]> {
    let (length, message) = frame.split_first_chunk::<2>()?;
    let whole = usize::from(u16::from_be_bytes(*length)) == message.len();
    (whole && message.starts_with(&[0, 0])).then_some(message)
}
