//! Upstreams of every kind, and what happens when one fails.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SingleCertAndKey;

use crate::common::{Taciturn, Upstream, ask, web};

/// A certificate for `dns.upstream.example`, and the authority's in PEM form.
fn certificate() -> (Arc<SingleCertAndKey>, String) {
    let made = rcgen::generate_simple_self_signed(["dns.upstream.example".to_owned()])
        .expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = rustls::crypto::ring::default_provider();
    let certified =
        rustls::sign::CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider);
    (
        Arc::new(SingleCertAndKey::from(certified.expect("a pair"))),
        made.cert.pem(),
    )
}

struct Encrypted {
    upstream: Upstream,
    pem: String,
    tls: SocketAddr,
    https: SocketAddr,
    quic: SocketAddr,
    h3: SocketAddr,
}

/// An upstream that speaks all encrypted protocols.
fn encrypted() -> Encrypted {
    let (certificate, pem) = certificate();
    let stream = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    };
    let datagram = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("nonblocking");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    };
    let ((tls_listener, tls), (https_listener, https)) = (stream(), stream());
    let ((quic_socket, quic), (h3_socket, h3)) = (datagram(), datagram());
    let upstream = Upstream::with(|server, _| {
        let limit = Duration::from_secs(5);
        let tcp = |listener| tokio::net::TcpListener::from_std(listener).expect("a listener");
        let udp = |socket| tokio::net::UdpSocket::from_std(socket).expect("a socket");
        let name = Some("dns.upstream.example".to_owned());
        server
            .register_tls_listener(tcp(tls_listener), limit, certificate.clone())
            .expect("TLS");
        server
            .register_https_listener(
                tcp(https_listener),
                limit,
                certificate.clone(),
                name.clone(),
                "/dns-query".to_owned(),
            )
            .expect("HTTPS");
        server
            .register_quic_listener(udp(quic_socket), limit, certificate.clone())
            .expect("QUIC");
        server
            .register_h3_listener(udp(h3_socket), limit, certificate, name)
            .expect("H3");
    });
    Encrypted {
        upstream,
        pem,
        tls,
        https,
        quic,
        h3,
    }
}

#[test]
fn tls_https_quic_and_h3() {
    let encrypted = encrypted();
    let mut server = Taciturn::prepare(encrypted.upstream.address, "");
    std::fs::write(server.folder.path().join("ca.pem"), &encrypted.pem).expect("to write");
    for (scheme, address) in [
        ("tls", encrypted.tls),
        ("https", encrypted.https),
        ("quic", encrypted.quic),
        ("h3", encrypted.h3),
    ] {
        let path = if matches!(scheme, "https" | "h3") {
            "/dns-query"
        } else {
            ""
        };
        let servers = format!(
            "servers = [\"{scheme}://{address}{path}#dns.upstream.example\"]\nca_file = \"ca.pem\""
        );
        server.configure_raw(&servers, "");
        server.run();
        for n in 0..5 {
            let name = format!("{scheme}{n}.example");
            assert_eq!(ask(server.dns, &name, "A").data(), ["192.0.2.1"], "{name}");
            assert_eq!(encrypted.upstream.asked(&name), 1, "{name}");
        }
        server.kill();
    }
}

#[test]
fn a_certificate_for_another_name_or_of_nobody_is_refused() {
    let encrypted = encrypted();
    let mut server = Taciturn::prepare(encrypted.upstream.address, "");
    std::fs::write(server.folder.path().join("ca.pem"), &encrypted.pem).expect("to write");
    for servers in [
        format!(
            "servers = [\"tls://{}#other.example\"]\nca_file = \"ca.pem\"",
            encrypted.tls
        ),
        format!(
            "servers = [\"tls://{}#dns.upstream.example\"]",
            encrypted.tls
        ),
    ] {
        server.configure_raw(&servers, "");
        server.run();
        let answer = ask(server.dns, "www.example", "A");
        assert_eq!(answer.rcode(), ResponseCode::ServFail, "{servers}");
        assert_eq!(answer.errors()[0].0, 23);
        assert_eq!(web::get(server.web, "/health").expect("an answer").0, 503);
        server.kill();
    }
    assert_eq!(encrypted.upstream.asked("www.example"), 0);
}

#[test]
fn a_closed_connection_is_opened_again() {
    let first = Upstream::start();
    let server = Taciturn::prepare(first.address, "");
    server.configure_raw(&format!("servers = [\"tcp://{}\"]", first.address), "");
    let mut server = server;
    server.run();
    assert_eq!(ask(server.dns, "one.example", "A").data(), ["192.0.2.1"]);
    // hickory-server closes connections that are idle for 30 s; a proxy in between closes ours at once.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let target = first.address;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut client = stream;
            let frame = crate::common::client::read_frame(&mut client);
            if let Ok(frame) = frame {
                let mut upstream = std::net::TcpStream::connect(target).expect("the upstream");
                crate::common::client::write_frame(&mut upstream, &frame);
                let answer = crate::common::client::read_frame(&mut upstream).expect("an answer");
                crate::common::client::write_frame(&mut client, &answer);
                let _ = client.flush();
            }
        }
    });
    server.kill();
    server.configure_raw(&format!("servers = [\"tcp://{address}\"]"), "");
    server.run();
    for n in 0..5 {
        assert_eq!(
            ask(server.dns, &format!("again{n}.example"), "A").data(),
            ["192.0.2.1"]
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_next_upstream_answers_when_one_is_dead_or_refuses() {
    let (dead, refusing, good) = (Upstream::start(), Upstream::start(), Upstream::start());
    dead.state.silent.store(true, Relaxed);
    refusing.state.failing.store(true, Relaxed);
    for strategy in ["ordered", "fastest"] {
        let server = Taciturn::prepare(good.address, "");
        let servers = format!(
            "servers = [\"udp://{}\", \"udp://{}\", \"udp://{}\"]\nstrategy = \"{strategy}\"",
            dead.address, refusing.address, good.address
        );
        server.configure_raw(&servers, "");
        let mut server = server;
        server.run();
        let start = Instant::now();
        for n in 0..20 {
            let answer = ask(server.dns, &format!("{strategy}{n}.example"), "A");
            assert_eq!(answer.data(), ["192.0.2.1"], "{strategy}");
        }
        // Not 20 times the 3 s that a dead server may take.
        assert!(
            start.elapsed() < Duration::from_secs(25),
            "{strategy}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn the_fastest_upstream_gets_most_queries() {
    let (slow, fast) = (Upstream::start(), Upstream::start());
    slow.state.delay.store(40, Relaxed);
    let server = Taciturn::prepare(fast.address, "");
    let servers = format!(
        "servers = [\"udp://{}\", \"udp://{}\"]",
        slow.address, fast.address
    );
    server.configure_raw(&servers, "");
    let mut server = server;
    server.run();
    for n in 0..100 {
        ask(server.dns, &format!("host{n}.example"), "A");
    }
    let (slow, fast) = (
        slow.state.queries.load(Relaxed),
        fast.state.queries.load(Relaxed),
    );
    assert!(fast > 85 && slow < 20 && slow > 0, "{slow} to {fast}");
}

#[test]
fn domains_with_servers_of_their_own() {
    let (default, lan) = (Upstream::start(), Upstream::start());
    let config = format!("[forward.\"lan\"]\nservers = [\"udp://{}\"]", lan.address);
    let server = Taciturn::start(default.address, &config);
    ask(server.dns, "nas.lan", "A");
    ask(server.dns, "nas.wlan", "A");
    assert_eq!((lan.asked("nas.lan"), default.asked("nas.lan")), (1, 0));
    assert_eq!((lan.asked("nas.wlan"), default.asked("nas.wlan")), (0, 1));
}

#[test]
fn an_upstream_by_name_is_looked_up_at_the_bootstrap_servers() {
    let (bootstrap, upstream) = (Upstream::start(), Upstream::start());
    bootstrap.address("dns.upstream.example", "127.0.0.1");
    let server = Taciturn::prepare(upstream.address, "");
    let servers = format!(
        "servers = [\"udp://dns.upstream.example:{}\"]",
        upstream.address.port()
    );
    server.configure_raw(&servers, "");
    let text = std::fs::read_to_string(server.config()).expect("the configuration");
    let named = format!("bootstrap = [\"{}\"]", bootstrap.address);
    std::fs::write(server.config(), text.replace("bootstrap = []", &named)).expect("to write");
    let mut server = server;
    server.run();
    assert_eq!(ask(server.dns, "www.example", "A").data(), ["192.0.2.1"]);
    assert_eq!(bootstrap.asked("www.example"), 0);
    assert_eq!(upstream.asked("www.example"), 1);
}
