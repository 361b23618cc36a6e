//! The TLS handshake before DNS over TLS (RFC 7858) and HTTPS: who may come in, and which device it is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::https;
use super::stream::Streams;
use crate::certificate::Current;
use crate::device::Caller;
use crate::resolve::{Resolver, Source, Via};

/// How long a client may take for its handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// What is spoken behind the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inner {
    /// DNS, with two length bytes before each message.
    Dns,
    /// DNS, a stream for each message.
    Quic,
    /// HTTP/2 or HTTP/1.1.
    Http,
}

impl Inner {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Dns => vec![b"dot".to_vec()],
            Self::Quic => vec![b"doq".to_vec()],
            Self::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// Chooses the certificate, or none for a client that must not come in: then the handshake ends before
/// anything was said.
struct Gate {
    resolver: Arc<Resolver>,
    certificate: Arc<Current>,
    inner: Inner,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl ResolvesServerCert for Gate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let live = self.resolver.live();
        let caller = live.devices.caller(hello.server_name());
        let welcome = match caller {
            Some(Caller::Device(_)) => true,
            // Who asks over HTTPS may still say so by the path.
            Some(Caller::Anybody) => self.inner == Inner::Http || !live.access_encrypted.is_empty(),
            None => false,
        };
        if !welcome {
            self.resolver.recorder.tally().totals.handshakes_refused += 1;
            return None;
        }
        self.certificate.get()
    }
}

/// Shakes hands with the current certificate, with those who may come in, for what is spoken then.
///
/// # Errors
///
/// When no secret for session tickets can be drawn.
pub fn server_config(
    resolver: Arc<Resolver>,
    certificate: Arc<Current>,
    inner: Inner,
) -> Result<ServerConfig, rustls::Error> {
    let gate = Gate {
        resolver,
        certificate,
        inner,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(gate));
    config.alpn_protocols = inner.protocols();
    // Sessions are resumed from what the client keeps: nothing is held for those that are gone.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// What every encrypted connection over TCP needs.
pub struct Tls {
    acceptor: TlsAcceptor,
    streams: Streams,
    inner: Inner,
}

impl Tls {
    /// Shakes hands with the current certificate, then speaks `inner`.
    ///
    /// # Errors
    ///
    /// As [`server_config`].
    pub fn new(
        streams: Streams,
        certificate: Arc<Current>,
        inner: Inner,
    ) -> Result<Self, rustls::Error> {
        let config = server_config(streams.resolver.clone(), certificate, inner)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            streams,
            inner,
        })
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    pub(super) async fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        stop: &CancellationToken,
    ) {
        let accepting = self.acceptor.accept(stream);
        let mut stream = match timeout(HANDSHAKE_LIMIT, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!("TLS handshake with {address}: {error}"),
            Err(_) => return tracing::debug!("TLS handshake with {address} took too long"),
        };
        let via = match self.inner {
            Inner::Dns | Inner::Quic => Via::Tls(self.streams.idle),
            Inner::Http => Via::Https,
        };
        let label = match self.caller(&stream) {
            Some(Caller::Device(label)) => Some(label),
            Some(Caller::Anybody) => None,
            // Its device was removed during the handshake.
            None => return,
        };
        let source = Source {
            address,
            label,
            via,
        };
        match self.inner {
            Inner::Dns | Inner::Quic => self.streams.serve(&mut stream, &source, stop).await,
            // On the heap, so that connections of the other kind do not have its size.
            Inner::Http => Box::pin(https::serve(&self.streams, stream, source, stop)).await,
        }
    }

    fn caller(&self, stream: &TlsStream<TcpStream>) -> Option<Caller> {
        let (_, connection) = stream.get_ref();
        let live = self.streams.resolver.live();
        live.devices.caller(connection.server_name())
    }
}
