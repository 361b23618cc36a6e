//! A taciturn with encrypted listeners, and a TLS client that trusts its own authority.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_net::quic::QuicClientStream;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Message, Query};
use hickory_proto::rr::RecordType;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Taciturn;
use super::process::free_port;

pub const HOSTNAME: &str = "dns.test";

/// A taciturn that is reached over TLS and HTTPS, too.
pub struct Encrypted {
    pub server: Taciturn,
    pub tls: SocketAddr,
    pub https: SocketAddr,
}

pub type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Encrypted {
    /// Starts with a self-signed certificate for `dns.test`.
    pub fn start(upstream: SocketAddr, more: &str) -> Self {
        Self::start_with(upstream, "self_signed = true", more)
    }

    /// Starts with these further lines of `[tls]`.
    pub fn start_with(upstream: SocketAddr, tls: &str, more: &str) -> Self {
        let port = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (dot, https) = (port(), port());
        let server = Taciturn::start(
            upstream,
            &format!(
                "listen.tls = [\"{dot}\"]\nlisten.https = [\"{https}\"]\nlisten.quic = [\"{dot}\"]\n{more}\n\
                 [tls]\nhostname = \"{HOSTNAME}\"\n{tls}\n"
            ),
        );
        Self {
            server,
            tls: dot,
            https,
        }
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.server.data().join("certificate/authority.pem")
    }

    /// Registers a device and waits until the server knows it; returns its host name.
    pub fn add(&self, name: &str) -> String {
        self.server.cli(&["device", "add", name]);
        let hostname = self.hostname(name);
        super::eventually("the device", || self.connect(&hostname).is_ok());
        hostname
    }

    pub fn hostname(&self, name: &str) -> String {
        let shown = self.server.cli(&["device", "show", "--json", name]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        shown["hostname"].as_str().expect("a host name").to_owned()
    }

    /// What a client trusts and offers.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.authority()).expect("the authority");
        roots.add(authority).expect("to trust it");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"dot".to_vec()];
        Arc::new(config)
    }

    /// Asks over QUIC under a host name.
    pub fn ask_over_quic(&self, hostname: &str, name: &str) -> Result<Message, String> {
        let mut config = (*self.client()).clone();
        config.alpn_protocols = vec![b"doq".to_vec()];
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let (server, hostname) = (self.tls, hostname.to_owned());
            let stream = QuicClientStream::builder()
                .crypto_config(config)
                .build(server, hostname.into());
            let stream = stream.await.map_err(|error| error.to_string())?;
            let (exchange, background) = DnsExchange::<TokioRuntimeProvider>::from_stream(stream);
            tokio::spawn(background);
            let mut message = Message::query();
            let name = name.parse().map_err(|_| "a name".to_owned())?;
            message.add_query(Query::query(name, RecordType::A));
            let request = DnsRequest::new(message, DnsRequestOptions::default());
            let answer = exchange.send(request).first_answer().await;
            answer
                .map(|answer| (*answer).clone())
                .map_err(|error| error.to_string())
        })
    }

    /// Shakes hands under a host name.
    pub fn connect(&self, hostname: &str) -> io::Result<Connection> {
        self.connect_as(self.client(), hostname)
    }

    pub fn connect_as(&self, config: Arc<ClientConfig>, hostname: &str) -> io::Result<Connection> {
        let name = ServerName::try_from(hostname.to_owned()).expect("a host name");
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let stream = TcpStream::connect(self.tls)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}
