//! UDP and TCP as clients expect them, and limits for those that misbehave.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

use crate::common::client::{ask_with, query, raw, read_frame, type_number, write_frame};
use crate::common::{Taciturn, Upstream, ask, ask_tcp, web};
use taciturn::wire::{Name, query::write_query};

#[test]
fn long_answers_go_over_tcp() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    for _ in 0..2 {
        let cut = ask(server.dns, "big.example", "TXT");
        assert!(cut.message.metadata.truncation && cut.message.answers.is_empty());
        let whole = ask_tcp(server.dns, "big.example", "TXT");
        assert!(!whole.message.metadata.truncation);
        assert_eq!(whole.message.answers.len(), 40);
    }
    // The upstream's own UDP answer was cut, too: it was asked again over TCP.
    assert_eq!(upstream.asked("big.example"), 2);
}

#[test]
fn without_edns_an_answer_has_at_most_512_bytes() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let name = Name::from_text("tracking.miui.com").expect("a name");
    let message = write_query(5, &name, type_number("A"), None);
    let answer = ask_with(server.dns, &message).expect("an answer");
    assert!(answer.message.edns.is_none());
    let name = Name::from_text("big.example").expect("a name");
    let message = write_query(5, &name, type_number("TXT"), None);
    let bytes = raw(server.dns, &message, Duration::from_secs(5)).expect("an answer");
    assert!(bytes.len() <= 512 && bytes[2] & 2 != 0);
}

#[test]
fn rfc7766_6_2_pipelined_queries_are_answered_out_of_order() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let mut stream = TcpStream::connect(server.dns).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a limit");
    write_frame(&mut stream, &query(0, "slow1000.example", "A"));
    for id in 1..200u16 {
        let name = match id % 3 {
            0 => "tracking.miui.com".to_owned(),
            1 => format!("slow{}-{id}.example", 200 - id),
            _ => format!("host{id}.example"),
        };
        write_frame(&mut stream, &query(id, &name, "A"));
    }
    let mut order = Vec::new();
    for _ in 0..200 {
        let message = Message::from_vec(&read_frame(&mut stream).expect("an answer")).expect("DNS");
        assert_eq!(message.answers.len(), 1);
        order.push(message.metadata.id);
    }
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), 200);
    assert_eq!(
        order.last(),
        Some(&0),
        "the slow one came first and is answered last"
    );
}

#[test]
fn idle_and_slow_connections_are_closed() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "listen.tcp_idle = \"300ms\"");
    let closes = |stream: &mut TcpStream, within: Duration| {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a limit");
        let start = Instant::now();
        assert_eq!(stream.read(&mut [0; 16]).expect("a close"), 0);
        assert!(start.elapsed() < within);
    };
    let mut idle = TcpStream::connect(server.dns).expect("a connection");
    closes(&mut idle, Duration::from_secs(3));
    let mut partial = TcpStream::connect(server.dns).expect("a connection");
    partial.write_all(&[0, 50, 1, 2, 3]).expect("to write");
    closes(&mut partial, Duration::from_secs(3));
    // Waiting for a slow upstream is not idling.
    let answer = ask_tcp(server.dns, "slow900.example", "A");
    assert_eq!(answer.data(), ["192.0.2.1"]);
}

#[test]
fn connections_are_limited() {
    let upstream = Upstream::start();
    let config = "listen.tcp_connections_per_address = 3";
    let server = Taciturn::start(upstream.address, config);
    let mut open: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(server.dns).expect("a connection");
            write_frame(&mut stream, &query(1, "localhost", "A"));
            read_frame(&mut stream).expect("an answer");
            stream
        })
        .collect();
    let mut one_more = TcpStream::connect(server.dns).expect("a connection");
    one_more
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a limit");
    assert!(matches!(one_more.read(&mut [0; 2]), Ok(0) | Err(_)));
    open.pop();
    crate::common::eventually("a place to come free", || {
        let mut stream = TcpStream::connect(server.dns).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a limit");
        let mut frame = vec![0, 31];
        frame.extend(query(1, "a.example", "A"));
        frame[1] = (frame.len() - 2) as u8;
        stream.write_all(&frame).is_ok() && read_frame(&mut stream).is_ok()
    });
    assert!(
        web::json(server.web, "/api/v1/status")["totals"]["connections_refused"].as_u64() > Some(0)
    );
}

#[test]
fn the_case_of_the_question_is_kept() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    for (name, times) in [("tracking.miui.com", 1), ("www.shop.example", 2)] {
        for _ in 0..times {
            let mut message = query(7, name, "A");
            for byte in message[12..30].iter_mut().step_by(2) {
                byte.make_ascii_uppercase();
            }
            let answer = ask_with(server.dns, &message).expect("an answer");
            let end = 12 + name.len() + 2;
            assert_eq!(answer.bytes[12..end], message[12..end]);
            assert_eq!(answer.message.answers.len(), 1);
        }
    }
    assert_eq!(
        upstream.asked("www.shop.example"),
        1,
        "and one answer serves every case"
    );
}

#[test]
fn broken_messages_get_an_error_or_nothing() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let good = query(0x4711, "www.example", "A");
    let changed = |at: usize, to: u8| {
        let mut message = good.clone();
        message[at] = to;
        message
    };
    let code = |message: &[u8]| ask_with(server.dns, message).map(|answer| answer.rcode());
    assert_eq!(
        code(&changed(2, 0x29)),
        Some(ResponseCode::NotImp),
        "opcode UPDATE"
    );
    assert_eq!(
        code(&changed(5, 2)),
        Some(ResponseCode::FormErr),
        "two questions"
    );
    assert_eq!(
        code(&changed(5, 0)),
        Some(ResponseCode::FormErr),
        "no question"
    );
    assert_eq!(
        code(&changed(12, 0x80)),
        Some(ResponseCode::FormErr),
        "a bad label"
    );
    assert_eq!(code(&good[..20]), Some(ResponseCode::FormErr), "cut short");
    let opt = good.len() - 11;
    let badvers = ask_with(server.dns, &changed(opt + 6, 9)).expect("an answer");
    assert_eq!(u16::from(badvers.rcode()), 16, "BADVERS");
    let quiet = Duration::from_millis(300);
    assert_eq!(
        raw(server.dns, &changed(2, 0x81), quiet),
        None,
        "a response is not answered"
    );
    assert_eq!(
        raw(server.dns, &good[..11], quiet),
        None,
        "less than a header"
    );
    assert_eq!(raw(server.dns, b"", quiet), None, "nothing");
    assert_eq!(
        ask(server.dns, "www.example", "A").rcode(),
        ResponseCode::NoError
    );
}

#[test]
fn garbage_over_tcp_hurts_nobody_else() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let mut streams: Vec<TcpStream> = (0..20)
        .map(|n| {
            let mut stream = TcpStream::connect(server.dns).expect("a connection");
            let junk: Vec<u8> = (0..2000u32).map(|i| (i * 31 + n * 7) as u8).collect();
            let _ = stream.write_all(&junk);
            stream
        })
        .collect();
    assert_eq!(
        ask_tcp(server.dns, "www.example", "A").data(),
        ["192.0.2.1"]
    );
    for stream in &mut streams {
        let _ = stream.write_all(&[0xff; 100]);
    }
    assert_eq!(ask(server.dns, "www.example", "A").data(), ["192.0.2.1"]);
}

#[test]
fn too_many_waiting_queries_are_turned_away() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "listen.waiting = 5");
    let dns = server.dns;
    let threads: Vec<_> = (0..20)
        .map(|n| std::thread::spawn(move || ask(dns, &format!("slow800-{n}.example"), "A").rcode()))
        .collect();
    let codes: Vec<_> = threads
        .into_iter()
        .map(|t| t.join().expect("an answer"))
        .collect();
    let answered = codes
        .iter()
        .filter(|code| **code == ResponseCode::NoError)
        .count();
    assert_eq!(answered, 5, "{codes:?}");
    assert_eq!(ask(dns, "www.example", "A").rcode(), ResponseCode::NoError);
}

#[test]
fn ipv6_and_any_address() {
    use std::net::{SocketAddr, UdpSocket};
    let upstream = Upstream::start();
    let (v4, v6) = (
        crate::common::process::free_port(),
        crate::common::process::free_port(),
    );
    let mut server = Taciturn::prepare(upstream.address, "");
    let text = std::fs::read_to_string(server.config()).expect("the configuration");
    let dns = format!("dns = [\"{}\"]", server.dns);
    let more = format!(
        "dns = [\"{}\", \"0.0.0.0:{v4}\", \"[::]:{v6}\"]",
        server.dns
    );
    std::fs::write(server.config(), text.replace(&dns, &more)).expect("to write");
    server.run();
    // A connected socket takes datagrams from the address it asked only: the reply has to leave from there.
    for asked in [
        format!("127.0.0.1:{v4}"),
        format!("127.7.7.7:{v4}"),
        format!("[::1]:{v6}"),
    ] {
        let asked: SocketAddr = asked.parse().expect("an address");
        let ours = if asked.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(ours).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a limit");
        socket.connect(asked).expect("to connect");
        for name in ["tracking.miui.com", "www.example"] {
            socket.send(&query(9, name, "A")).expect("to send");
            let mut buffer = [0; 1500];
            let length = socket
                .recv(&mut buffer)
                .unwrap_or_else(|e| panic!("{asked}: {e}"));
            let message = Message::from_vec(&buffer[..length]).expect("DNS");
            assert_eq!(message.answers.len(), 1, "{name} at {asked}");
        }
    }
}

/// Sends many queries at once; returns the answers: how many whole ones, how many that were cut short.
fn burst(server: std::net::SocketAddr, queries: &[Vec<u8>]) -> (usize, usize) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a limit");
    let (mut whole, mut cut) = (0, 0);
    let mut buffer = [0; 1500];
    for some in queries.chunks(50) {
        for query in some {
            socket.send_to(query, server).expect("to send");
        }
        for _ in some {
            let Ok(length) = socket.recv(&mut buffer) else {
                break;
            };
            match buffer[2] & 2 != 0 && length < 100 {
                true => cut += 1,
                false => whole += 1,
            }
        }
    }
    (whole, cut)
}

#[test]
fn who_asks_too_fast_over_udp_is_sent_to_tcp_and_others_are_not() {
    let upstream = Upstream::start();
    for batches in [true, false] {
        let server = Taciturn::start(
            upstream.address,
            &format!(
                "listen.udp_batches = {batches}\nlisten.udp_rate = 1\nlisten.udp_burst = 20\n\
                 listen.udp_unlimited = []"
            ),
        );
        let queries = vec![query(7, "tracking.miui.com", "A"); 100];
        let (whole, cut) = burst(server.dns, &queries);
        // The harness asked a few times before, to see whether the server is there.
        assert!((1..=21).contains(&whole), "{whole} whole, {cut} cut");
        assert!(
            cut.abs_diff((100 - whole) / 2) <= 1,
            "{whole} whole, {cut} cut"
        );
        assert_eq!(
            ask_tcp(server.dns, "tracking.miui.com", "A").data(),
            ["0.0.0.0"]
        );
        let metrics = web::get(server.web, "/metrics").expect("metrics").1;
        let limited = metrics
            .lines()
            .find_map(|line| line.strip_prefix("taciturn_rate_limited_total "))
            .and_then(|n| n.parse::<usize>().ok());
        assert_eq!(limited, Some(100 - whole), "{metrics}");

        // A client that shows our cookie is where it says.
        let with_cookie = |cookie: &[u8]| {
            let mut query = query(7, "tracking.miui.com", "A");
            let length_at = query.len() - 2;
            let length = 4 + cookie.len() as u16;
            query[length_at..].copy_from_slice(&length.to_be_bytes());
            query.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
            query.extend_from_slice(cookie);
            query
        };
        let mut stream = TcpStream::connect(server.dns).expect("a connection");
        write_frame(&mut stream, &with_cookie(b"12345678"));
        let answer = read_frame(&mut stream).expect("an answer");
        let at = answer
            .windows(12)
            .position(|bytes| bytes == b"\x00\x0a\x00\x1812345678")
            .expect("a cookie");
        let cookie = answer[at + 4..at + 28].to_vec();
        let (whole, _) = burst(server.dns, &vec![with_cookie(&cookie); 60]);
        assert_eq!(whole, 60);
        let mut forged = cookie;
        forged[20] ^= 1;
        let (whole, _) = burst(server.dns, &vec![with_cookie(&forged); 60]);
        assert!(whole <= 3, "{whole}");
        // A cookie of no possible length is a malformed message.
        write_frame(&mut stream, &with_cookie(b"1234"));
        let refused = Message::from_vec(&read_frame(&mut stream).expect("an answer")).expect("DNS");
        assert_eq!(refused.metadata.response_code, ResponseCode::FormErr);
    }
}
