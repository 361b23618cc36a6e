//! However a query comes, the answer is the same: in batches, by the plain path of other systems, over TCP.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use taciturn::wire::query::write_query;
use taciturn::wire::{Edns, Name, records, rtype};

use crate::common::client::{raw, read_frame, type_number, write_frame};
use crate::common::{Taciturn, Upstream};

const MORE: &str = r#"
    [rules]
    block = ["blocked.example", "fam-*.example"]
    allow = ["ok.blocked.example"]
    record = ["noted.example"]
    [local]
    "nas.lan" = ["192.168.1.2", "fd00::2"]
    "alias.lan" = "www.example"
"#;

/// Queries of every kind: well-formed ones of many names, types and EDNS, and broken ones.
fn corpus() -> Vec<Vec<u8>> {
    let names = [
        "tracking.MIUI.com",
        "WWW.Example",
        "x.blocked.example",
        "x.ok.blocked.example",
        "fam-12.example",
        "noted.example",
        "nas.lan",
        "alias.lan",
        "nx1.example",
        "empty.example",
        "ede.example",
        "big.example",
        "cloaked.example",
        "localhost",
        "a.onion",
        "use-application-dns.net",
        "1.1.168.192.in-addr.arpa",
        ".",
    ];
    let types = ["A", "AAAA", "TXT", "HTTPS", "NS", "SOA", "ANY", "CNAME"];
    let edns = |payload, dnssec_ok| Edns { payload, dnssec_ok };
    let options = [
        None,
        Some(edns(1232, false)),
        Some(edns(1232, true)),
        Some(edns(512, false)),
        Some(edns(0, false)),
        Some(edns(65_535, true)),
    ];
    let mut all = Vec::new();
    for text in names {
        let name = Name::from_text(text).expect("a name");
        for kind in types {
            for option in options {
                let id = all.len() as u16;
                let mut query = write_query(id, &name, type_number(kind), option);
                // As the client wrote it, letter by letter.
                let mut at = 13;
                for label in text.split('.').filter(|label| !label.is_empty()) {
                    query[at..at + label.len()].copy_from_slice(label.as_bytes());
                    at += label.len() + 1;
                }
                query[3] |= [0, 0x10, 0x20, 0x30][all.len() % 4];
                all.push(query);
            }
        }
    }
    let plain = |name| write_query(9, &Name::from_text(name).expect("a name"), rtype::A, None);
    let chaos = {
        let mut query = plain("version.bind");
        let class_at = query.len() - 1;
        query[class_at] = 3;
        query
    };
    let with_flags = |flags: u8| {
        let mut query = plain("www.example");
        query[2] = flags;
        query
    };
    let version_1 = {
        let name = Name::from_text("www.example").expect("a name");
        let mut query = write_query(9, &name, rtype::A, Some(edns(1232, false)));
        let version_at = query.len() - 5;
        query[version_at] = 1;
        query
    };
    let two_questions = {
        let mut query = plain("www.example");
        let question = query[12..].to_vec();
        query.extend(question);
        query[5] = 2;
        query
    };
    let cut = plain("www.example")[..20].to_vec();
    let mut behind = plain("tracking.miui.com");
    behind.extend([0; 7]);
    // No recursion wanted, NOTIFY, UPDATE, a reserved opcode.
    let flags = [0x00, 0x21, 0x29, 0x79].map(with_flags);
    all.extend([chaos, version_1, two_questions, cut, behind]);
    all.extend(flags);
    all
}

/// An answer without what the clock writes into it.
fn timeless(mut answer: Vec<u8>) -> Vec<u8> {
    let mut places = Vec::new();
    let _ = records::walk(&answer, |record| {
        // In an OPT record these bytes are flags.
        if record.record_type != rtype::OPT {
            places.push(record.ttl_at);
        }
    });
    for at in places {
        answer[at..at + 4].fill(0);
    }
    answer
}

fn over_udp(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    raw(server, query, Duration::from_secs(5)).map(timeless)
}

fn over_tcp(server: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a limit");
    write_frame(&mut stream, query);
    read_frame(&mut stream).ok().map(timeless)
}

#[test]
fn every_way_gives_the_same_bytes() {
    let upstream = Upstream::start();
    upstream.alias("cloaked.example", "x.blocked.example");
    let batched = Taciturn::start(upstream.address, MORE);
    let plain = Taciturn::start(
        upstream.address,
        &format!("listen.udp_batches = false\n{MORE}"),
    );
    let mut compared = 0;
    for query in corpus() {
        // Asked of the upstream at first, then from the cache.
        for turn in ["first", "second"] {
            let one = over_udp(batched.dns, &query);
            let other = over_udp(plain.dns, &query);
            assert_eq!(one, other, "{turn} time over UDP: {query:02x?}");
            let Some(one) = one else {
                panic!("no answer to {query:02x?}");
            };
            let cut_short = one[2] & 2 != 0;
            if !cut_short {
                let stream = over_tcp(batched.dns, &query);
                assert_eq!(Some(&one), stream.as_ref(), "over TCP: {query:02x?}");
            }
            compared += 1;
        }
    }
    assert!(compared > 1700, "{compared}");
    // Who says nothing to a response says nothing either way.
    let mut response = corpus()[0].clone();
    response[2] |= 0x80;
    for server in [batched.dns, plain.dns] {
        assert!(raw(server, &response, Duration::from_millis(300)).is_none());
    }
}
