//! Bytes in, bytes out: sockets, framing and limits. Knows no lists.
//!
//! The accept loops are our own, because a connection has to carry who it belongs to; answers come from
//! [`Resolver::quick`](crate::resolve::Resolver::quick) at once, or from
//! [`Resolver::answer`](crate::resolve::Resolver::answer) in a task of their own.

pub mod https;
mod limits;
pub mod quic;
mod rate;
pub mod stream;
pub mod tcp;
pub mod tls;
pub mod udp;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificate::Current;
use crate::config::{Listen, Period};
use crate::policy::Networks;
use crate::resolve::Resolver;
use rate::Rate;
use stream::Streams;
use tcp::Door;
use tls::{Inner, Tls};

/// An address that cannot be listened on, and the mend.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({protocol}): {reason}")]
pub struct ListenError {
    address: SocketAddr,
    protocol: &'static str,
    reason: String,
}

impl ListenError {
    /// Puts a system error into words, with what to do about it.
    pub fn new(address: SocketAddr, protocol: &'static str, error: &io::Error) -> Self {
        let port = address.port();
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another program has the port; find it with `ss -lntup 'sport = :{port}'`, stop it, \
                 or choose another port in the configuration"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "ports below 1024 need a right; give it with \
                 `setcap cap_net_bind_service=+ep $(command -v taciturn)`, or choose a port above \
                 1023 instead of {port}"
            ),
            io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address; `ip address` shows those it has"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        Self {
            address,
            protocol,
            reason,
        }
    }
}

/// What is spoken on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Plain DNS over UDP and TCP.
    Plain,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Https,
    /// DNS over QUIC.
    Quic,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "UDP and TCP",
            Self::Tls => "DNS over TLS",
            Self::Https => "DNS over HTTPS",
            Self::Quic => "DNS over QUIC",
        }
    }
}

/// Where a configuration wants to listen.
fn wanted(config: &Listen) -> impl Iterator<Item = (Kind, SocketAddr)> + '_ {
    let plain = config.dns.iter().map(|address| (Kind::Plain, *address));
    let tls = config.tls.iter().map(|address| (Kind::Tls, *address));
    let https = config.https.iter().map(|address| (Kind::Https, *address));
    let quic = config.quic.iter().map(|address| (Kind::Quic, *address));
    plain.chain(tls).chain(https).chain(quic)
}

/// The listeners, by address; addresses can be added and removed while the others go on.
pub struct Listeners {
    resolver: Arc<Resolver>,
    certificate: Arc<Current>,
    tasks: TaskTracker,
    stop: CancellationToken,
    running: HashMap<(Kind, SocketAddr), CancellationToken>,
}

impl Listeners {
    /// Listens nowhere yet. What is stopped by `stop` is tracked by `tasks`.
    pub fn new(
        resolver: Arc<Resolver>,
        certificate: Arc<Current>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            resolver,
            certificate,
            tasks,
            stop,
            running: HashMap::new(),
        }
    }

    /// Listens where `config` says: on new addresses first, then no longer on those that are gone.
    ///
    /// # Errors
    ///
    /// The first address that cannot be had. Those that ran before go on running.
    pub fn apply(&mut self, config: &Listen) -> Result<(), ListenError> {
        let mut fresh = Vec::new();
        for place in wanted(config) {
            if !self.running.contains_key(&place) {
                fresh.push((place, bind(place, config)?));
            }
        }
        for ((kind, address), sockets) in fresh {
            let token = self.stop.child_token();
            let started = self.start(kind, sockets, config, &token);
            self.running.insert((kind, address), token);
            started.map_err(|error| ListenError::new(address, kind.name(), &error))?;
            tracing::info!("listening on {address} ({})", kind.name());
        }
        self.running.retain(|place, token| {
            let still = wanted(config).any(|other| other == *place);
            if !still {
                tracing::info!("no longer listening on {} ({})", place.1, place.0.name());
                token.cancel();
            }
            still
        });
        Ok(())
    }

    fn start(
        &self,
        kind: Kind,
        sockets: Sockets,
        settings: &Listen,
        token: &CancellationToken,
    ) -> io::Result<()> {
        let streams = |idle: Period| Streams {
            resolver: self.resolver.clone(),
            tasks: self.tasks.clone(),
            idle: idle.0,
            pipeline: settings.tcp_pipeline,
        };
        let tls = |inner| {
            let streams = streams(settings.tls_idle);
            let tls = Tls::new(streams, self.certificate.clone(), inner);
            tls.map(Door::Tls).map_err(io::Error::other)
        };
        let (total, per_client) = match kind {
            Kind::Plain => (
                settings.tcp_connections,
                settings.tcp_connections_per_address,
            ),
            _ => (
                settings.tls_connections,
                settings.tls_connections_per_address,
            ),
        };
        let door = match kind {
            Kind::Plain => Door::Plain(streams(settings.tcp_idle)),
            Kind::Tls => tls(Inner::Dns)?,
            Kind::Https => tls(Inner::Http)?,
            Kind::Quic => {
                for socket in sockets.udp {
                    let resolver = self.resolver.clone();
                    let tls = tls::server_config(resolver, self.certificate.clone(), Inner::Quic)
                        .map_err(io::Error::other)?;
                    let streams = streams(settings.tls_idle);
                    let listener = quic::Listener::new(socket, total, per_client, tls, streams)?;
                    self.tasks.spawn(listener.run(token.clone()));
                }
                return Ok(());
            }
        };
        let worker = udp::Worker {
            resolver: self.resolver.clone(),
            tasks: self.tasks.clone(),
            payload: usize::from(settings.udp_payload),
            rate: rate(settings).map(Arc::new),
        };
        for socket in sockets.udp {
            let worker = worker.clone();
            worker.start(socket, settings.udp_batches, token.clone())?;
        }
        if let Some(listener) = sockets.tcp {
            let listener = tcp::Listener::new(listener, total, per_client, door);
            self.tasks.spawn(listener.run(token.clone()));
        }
        Ok(())
    }
}

fn rate(settings: &Listen) -> Option<Rate> {
    let mut unlimited = Networks::default();
    for network in &settings.udp_unlimited {
        unlimited.add(network.0, ());
    }
    Rate::new(settings.udp_rate, settings.udp_burst, unlimited)
}

struct Sockets {
    udp: Vec<UdpSocket>,
    tcp: Option<tokio::net::TcpListener>,
}

fn bind((kind, address): (Kind, SocketAddr), settings: &Listen) -> Result<Sockets, ListenError> {
    let refused = |protocol: &'static str| {
        move |error: io::Error| ListenError::new(address, protocol, &error)
    };
    let tcp = match kind {
        Kind::Quic => None,
        _ => Some(bind_tcp(address).map_err(refused("TCP"))?),
    };
    let udp = match kind {
        Kind::Plain => bind_udp(address, settings.udp_sockets).map_err(refused("UDP"))?,
        Kind::Quic => bind_udp(address, 1).map_err(refused("UDP"))?,
        Kind::Tls | Kind::Https => Vec::new(),
    };
    Ok(Sockets { udp, tcp })
}

fn bind_tcp(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = new_socket(address, Type::STREAM, Protocol::TCP)?;
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(1024)?;
    tokio::net::TcpListener::from_std(socket.into())
}

/// Several sockets on one address: the kernel spreads clients over them.
fn bind_udp(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    // With the port shared the kernel would let a second taciturn in beside the first; one attempt
    // without sharing finds out whether somebody is there.
    let probe = new_socket(address, Type::DGRAM, Protocol::UDP)?;
    probe.bind(&SockAddr::from(address))?;
    drop(probe);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = if count == 0 { cores } else { count };
    (0..count)
        .map(|_| {
            let socket = new_socket(address, Type::DGRAM, Protocol::UDP)?;
            #[cfg(unix)]
            socket.set_reuse_port(true)?;
            // A burst of queries must not be lost for want of room; the kernel may grant less.
            let _ = socket.set_recv_buffer_size(1 << 20);
            let _ = socket.set_send_buffer_size(1 << 20);
            socket.bind(&SockAddr::from(address))?;
            Ok(socket.into())
        })
        .collect()
}

fn new_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses here, and can both be listened on.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
