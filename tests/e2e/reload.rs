//! Changes come without a lost query, and mistakes change nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::common::{Taciturn, Upstream, ask, eventually, web};

#[test]
fn a_reload_under_load_loses_no_answer() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let dns = server.dns;
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut n = 0;
                while !stop.load(Relaxed) {
                    let name = match n % 3 {
                        0 => "tracking.miui.com".to_owned(),
                        1 => "www.example".to_owned(),
                        _ => format!("host{n}-{thread}.example"),
                    };
                    assert_eq!(ask(dns, &name, "A").message.answers.len(), 1, "{name}");
                    answered.fetch_add(1, Relaxed);
                    n += 1;
                }
            })
        })
        .collect();
    for round in 0..5 {
        server.configure(
            upstream.address,
            &format!("[rules]\nblock = [\"round{round}.example\"]"),
        );
        server.reload();
        let name = format!("round{round}.example");
        eventually("the new rule", || {
            ask(dns, &name, "A").data() == ["0.0.0.0"]
        });
    }
    stop.store(true, Relaxed);
    for thread in threads {
        thread.join().expect("no lost answer");
    }
    assert!(answered.load(Relaxed) > 200);
}

#[test]
fn a_bad_configuration_keeps_the_old_one_and_says_so() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "[rules]\nblock = [\"old.example\"]");
    server.configure(upstream.address, "[rules]\nblok = [\"new.example\"]");
    server.reload();
    assert_eq!(ask(server.dns, "old.example", "A").data(), ["0.0.0.0"]);
    let log = server.log();
    assert!(log.contains("the running configuration is kept"), "{log}");
    assert!(
        log.contains("unknown key `blok` in [rules]; did you mean `block`?"),
        "{log}"
    );
    let status = web::json(server.web, "/api/v1/status");
    assert!(
        status["config_refused"]
            .as_str()
            .is_some_and(|why| why.contains("blok"))
    );
    server.configure(upstream.address, "[rules]\nblock = [\"new.example\"]");
    eventually("the file watch", || {
        ask(server.dns, "new.example", "A").data() == ["0.0.0.0"]
    });
    eventually("nothing is refused any more", || {
        web::json(server.web, "/api/v1/status")["config_refused"].is_null()
    });
}

#[test]
fn listeners_come_and_go() {
    let upstream = Upstream::start();
    let mut server = Taciturn::start(upstream.address, "");
    let (old, new) = (server.dns, crate::common::process::free_port());
    let new = std::net::SocketAddr::from(([127, 0, 0, 1], new));
    server.dns = new;
    server.configure(upstream.address, "");
    eventually("the new address", || {
        let probe = crate::common::client::query(1, "www.example", "A");
        crate::common::client::raw(new, &probe, std::time::Duration::from_millis(300)).is_some()
    });
    eventually("the old address to be free", || {
        std::net::UdpSocket::bind(old).is_ok()
    });
    // An address that somebody has is refused as a whole.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    server.dns = taken.local_addr().expect("an address");
    server.configure(upstream.address, "");
    server.reload();
    assert!(
        server.log().contains("another program has the port"),
        "{}",
        server.log()
    );
    assert_eq!(ask(new, "www.example", "A").data(), ["192.0.2.1"]);
}

#[test]
fn sigterm_answers_what_is_under_way() {
    let upstream = Upstream::start();
    let mut server = Taciturn::start(upstream.address, "");
    let dns = server.dns;
    let waiting = std::thread::spawn(move || ask(dns, "slow700.example", "A").data());
    eventually("the query to be under way", || {
        upstream.asked("slow700.example") == 1
    });
    assert_eq!(server.stop(), Some(0));
    assert_eq!(waiting.join().expect("an answer"), ["192.0.2.1"]);
}
