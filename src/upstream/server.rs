//! One upstream server: its connection, its speed, its record.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_proto::op::{DnsRequest, DnsResponse};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};
use hickory_resolver::{ConnectionProvider, PoolContext};
use tokio::sync::Mutex;

use super::datagrams::Datagrams;
use super::{Bootstrap, UpstreamError};
use crate::config::{Host, Transport, UpstreamUrl};

/// Queries over encrypted transports are padded to a multiple of this (RFC 8467 section 4.1), in bytes.
const PADDING_BLOCK: usize = 128;
/// What a failure adds to the smoothed response time, in microseconds: enough to be asked last.
const FAILURE_PENALTY: u32 = 1_000_000;
/// The response time that a server starts with, in microseconds: low, so that each is tried soon.
const UNKNOWN: u32 = 1000;

/// Counts of a server, for status and metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Queries sent.
    pub queries: AtomicU64,
    /// Queries that came to nothing.
    pub failures: AtomicU64,
}

/// A server to forward to.
pub struct Server {
    url: UpstreamUrl,
    context: Arc<PoolContext>,
    provider: TokioRuntimeProvider,
    bootstrap: Bootstrap,
    datagrams: Datagrams,
    connection: Mutex<Option<(DnsExchange<TokioRuntimeProvider>, u64)>>,
    /// Counts connections made, so that a failure drops only the connection it happened on.
    generation: AtomicU64,
    smoothed: AtomicU32,
    /// What it did.
    pub counts: Counts,
}

impl Server {
    /// A server that is connected to when first asked.
    pub fn new(url: UpstreamUrl, context: Arc<PoolContext>, bootstrap: Bootstrap) -> Self {
        Self {
            url,
            context,
            provider: TokioRuntimeProvider::default(),
            bootstrap,
            datagrams: Datagrams::default(),
            connection: Mutex::new(None),
            generation: AtomicU64::new(0),
            smoothed: AtomicU32::new(UNKNOWN),
            counts: Counts::default(),
        }
    }

    /// The server as configured.
    pub fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    /// Its smoothed response time; failures weigh in as a second.
    pub fn speed(&self) -> Duration {
        Duration::from_micros(self.smoothed.load(Relaxed).into())
    }

    /// Sends a request and waits for the response: retried once on a new connection when the old one turns
    /// out to be closed, and over TCP when a UDP response is cut short.
    pub async fn ask(&self, request: &DnsRequest) -> Result<DnsResponse, UpstreamError> {
        let started = Instant::now();
        self.counts.queries.fetch_add(1, Relaxed);
        let limit = self.context.options.timeout;
        let outcome = match tokio::time::timeout(limit, self.ask_untimed(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(UpstreamError::Timeout {
                server: self.url.to_string(),
                limit,
            }),
        };
        match &outcome {
            Ok(_) => self.learn(started.elapsed().as_micros() as u32),
            Err(error) => {
                tracing::debug!("{error}");
                self.counts.failures.fetch_add(1, Relaxed);
                self.learn(FAILURE_PENALTY.max(started.elapsed().as_micros() as u32));
                self.drop_connection().await;
            }
        }
        outcome
    }

    /// Moves the smoothed time a quarter of the way. Two racing answers may lose one of them, which does
    /// no harm.
    fn learn(&self, micros: u32) {
        let old = u64::from(self.smoothed.load(Relaxed));
        let new = (old * 3 + u64::from(micros)) / 4;
        self.smoothed.store(new as u32, Relaxed);
    }

    /// Lets a server that was not asked forget its failures by and by, so that it gets another chance.
    pub fn forgive(&self) {
        let old = self.smoothed.load(Relaxed);
        self.smoothed.store(old - old / 64, Relaxed);
    }

    async fn ask_untimed(&self, request: &DnsRequest) -> Result<DnsResponse, UpstreamError> {
        if self.url.transport == Transport::Udp {
            return self.ask_over_udp(request).await;
        }
        let request = self.padded(request.clone());
        let mut fresh = false;
        loop {
            let (connection, generation, reused) = self.connection(fresh).await?;
            match connection.send(request.clone()).first_answer().await {
                Ok(response) => return Ok(response),
                // A server may close an idle connection at any time; that is no failure of its own.
                Err(_) if reused && !fresh => {
                    self.drop_generation(generation).await;
                    fresh = true;
                }
                Err(error) => return Err(self.network(&error)),
            }
        }
    }

    async fn ask_over_udp(&self, request: &DnsRequest) -> Result<DnsResponse, UpstreamError> {
        let failed = |error: &dyn std::fmt::Display| UpstreamError::Network {
            server: self.url.to_string(),
            reason: error.to_string(),
        };
        let to = SocketAddr::new(self.address().await?, self.url.port);
        let query = request.to_vec().map_err(|error| failed(&error))?;
        let asked = self.datagrams.ask(to, &query).await;
        let answer = asked.map_err(|error| failed(&error))?;
        let response = DnsResponse::from_buffer(answer).map_err(|error| failed(&error))?;
        match response.truncation {
            true => self.ask_over_tcp(request.clone()).await,
            false => Ok(response),
        }
    }

    async fn ask_over_tcp(&self, request: DnsRequest) -> Result<DnsResponse, UpstreamError> {
        let address = self.address().await?;
        let connection = self.connect(address, ProtocolConfig::Tcp).await?;
        connection
            .send(request)
            .first_answer()
            .await
            .map_err(|error| self.network(&error))
    }

    /// The connection to use, its generation, and whether it served before.
    async fn connection(
        &self,
        fresh: bool,
    ) -> Result<(DnsExchange<TokioRuntimeProvider>, u64, bool), UpstreamError> {
        let mut slot = self.connection.lock().await;
        if let (Some((connection, generation)), false) = (slot.as_ref(), fresh) {
            return Ok((connection.clone(), *generation, true));
        }
        let address = self.address().await?;
        let connection = self.connect(address, self.protocol()).await?;
        let generation = self.generation.fetch_add(1, Relaxed) + 1;
        *slot = Some((connection.clone(), generation));
        Ok((connection, generation, false))
    }

    async fn connect(
        &self,
        address: IpAddr,
        protocol: ProtocolConfig,
    ) -> Result<DnsExchange<TokioRuntimeProvider>, UpstreamError> {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = self.url.port;
        let connecting = self
            .provider
            .new_connection(address, &connection, &self.context)
            .map_err(|error| self.network(&error))?;
        connecting.await.map_err(|error| self.network(&error))
    }

    async fn address(&self) -> Result<IpAddr, UpstreamError> {
        let name = match &self.url.host {
            Host::Address(address) => return Ok(*address),
            Host::Name(name) => name,
        };
        let failed = |reason: String| UpstreamError::Bootstrap {
            server: self.url.to_string(),
            reason,
        };
        let addresses = self.bootstrap.addresses(name).await.map_err(failed)?;
        let first = addresses.first().copied();
        first.ok_or_else(|| failed("it has no address".to_owned()))
    }

    fn protocol(&self) -> ProtocolConfig {
        let server_name: Arc<str> = self.url.certificate_name().into();
        let path: Arc<str> = self.url.path.as_deref().unwrap_or("/dns-query").into();
        match self.url.transport {
            Transport::Udp => ProtocolConfig::Udp,
            Transport::Tcp => ProtocolConfig::Tcp,
            Transport::Tls => ProtocolConfig::Tls { server_name },
            Transport::Https => ProtocolConfig::Https { server_name, path },
            Transport::H3 => ProtocolConfig::H3 {
                server_name,
                path,
                disable_grease: false,
            },
            Transport::Quic => ProtocolConfig::Quic { server_name },
        }
    }

    /// Pads a request for an encrypted transport, so that its length does not tell the name.
    fn padded(&self, request: DnsRequest) -> DnsRequest {
        if !self.url.transport.is_encrypted() {
            return request;
        }
        let (mut message, options) = request.into_parts();
        let name_bytes = message
            .queries
            .first()
            .map_or(1, |query| query.name().len() + 1);
        // Header, question, OPT record without options, and the padding option's own head.
        let bare = 12 + name_bytes + 4 + 11 + 4;
        let padding = (PADDING_BLOCK - bare % PADDING_BLOCK) % PADDING_BLOCK;
        if let Some(edns) = &mut message.edns {
            edns.options_mut()
                .insert(EdnsOption::Unknown(12, vec![0; padding]));
        }
        DnsRequest::new(message, options)
    }

    async fn drop_connection(&self) {
        *self.connection.lock().await = None;
    }

    async fn drop_generation(&self, generation: u64) {
        let mut slot = self.connection.lock().await;
        if slot
            .as_ref()
            .is_some_and(|(_, current)| *current == generation)
        {
            *slot = None;
        }
    }

    fn network(&self, error: &NetError) -> UpstreamError {
        if matches!(error, NetError::Timeout) {
            return UpstreamError::Timeout {
                server: self.url.to_string(),
                limit: self.context.options.timeout,
            };
        }
        UpstreamError::Network {
            server: self.url.to_string(),
            reason: error.to_string(),
        }
    }
}
