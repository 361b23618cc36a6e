//! What Android calls Private DNS: DNS over TLS, the host name checked, each phone told apart; and DNS over
//! HTTPS beside it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use taciturn::wire::{Edns, Name, query::write_query, rtype};

use crate::common::client::{Answer, query, read_frame, write_frame};
use crate::common::tls::{Connection, Encrypted, HOSTNAME};
use crate::common::{Upstream, ask, eventually, have};

fn ask_on(connection: &mut Connection, name: &str) -> Answer {
    write_frame(connection, &query(rand::random(), name, "A"));
    Answer::new(read_frame(connection).expect("an answer"))
}

/// A query with an empty EDNS option of this code.
fn with_option(name: &str, code: u16) -> Vec<u8> {
    let name = Name::from_text(name).expect("a name");
    let edns = Edns {
        payload: 1232,
        dnssec_ok: false,
    };
    let mut message = write_query(7, &name, rtype::A, Some(edns));
    let length_at = message.len() - 2;
    message[length_at..].copy_from_slice(&4u16.to_be_bytes());
    message.extend_from_slice(&code.to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message
}

#[test]
fn each_phone_asks_under_its_own_name_and_is_counted() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let hostname = encrypted.add("Anne's Redmi");
    assert!(
        hostname.starts_with("anne-s-redmi-") && hostname.ends_with(".dns.test"),
        "{hostname}"
    );
    let other = encrypted.add("office");
    let mut phone = encrypted.connect(&hostname).expect("a connection");
    assert_eq!(phone.conn.alpn_protocol(), Some(&b"dot"[..]));
    assert_eq!(ask_on(&mut phone, "tracking.miui.com").data(), ["0.0.0.0"]);
    assert_eq!(ask_on(&mut phone, "www.example").data(), ["192.0.2.1"]);
    // Host names are compared without regard to case.
    let mut second = encrypted
        .connect(&other.to_uppercase())
        .expect("a connection");
    for _ in 0..2 {
        assert_eq!(ask_on(&mut second, "tracking.miui.com").data(), ["0.0.0.0"]);
    }
    eventually("counts by device", || {
        let stats = encrypted.server.cli(&["stats", "--by", "device", "--csv"]);
        stats.contains("\"Anne's Redmi\",1,0,") && stats.contains("\"office\",2,0,")
            || stats.contains("Anne's Redmi,1,0,") && stats.contains("office,2,0,")
    });
}

#[test]
fn strangers_get_nothing() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    for hostname in [HOSTNAME, "guess.dns.test", "a.b.dns.test", "other.test"] {
        let refused = encrypted.connect(hostname);
        assert!(refused.is_err(), "{hostname} was let in");
    }
    let metrics = crate::common::web::get(encrypted.server.web, "/metrics")
        .expect("metrics")
        .1;
    assert!(metrics.contains("handshakes_refused_total 4"), "{metrics}");
    assert_eq!(
        upstream
            .state
            .queries
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[test]
fn networks_can_be_let_in_under_the_bare_name() {
    let upstream = Upstream::start();
    let more = "[access]\nencrypted = [\"127.0.0.0/8\"]";
    let encrypted = Encrypted::start(upstream.address, more);
    let mut anybody = encrypted.connect(HOSTNAME).expect("a connection");
    assert_eq!(ask_on(&mut anybody, "www.example").data(), ["192.0.2.1"]);
    assert!(encrypted.connect("guess.dns.test").is_err());
}

#[test]
fn a_removed_device_is_turned_away_even_on_an_open_connection() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let (old, other) = (encrypted.add("phone"), encrypted.add("other"));
    let mut phone = encrypted.connect(&old).expect("a connection");
    assert_eq!(ask_on(&mut phone, "www.example").data(), ["192.0.2.1"]);
    encrypted.server.cli(&["device", "rotate", "phone"]);
    eventually("the old name to be nobody's", || {
        ask_on(&mut phone, "www.example").rcode() == ResponseCode::Refused
    });
    assert!(encrypted.connect(&old).is_err());
    assert!(encrypted.connect(&encrypted.hostname("phone")).is_ok());
    encrypted.server.cli(&["device", "remove", "phone"]);
    let listed = encrypted.server.cli(&["device", "list"]);
    assert!(
        !listed.contains("phone") && listed.contains(&other),
        "{listed}"
    );
}

#[test]
fn a_pause_ends_by_itself_and_a_new_name_keeps_the_counts() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let hostname = encrypted.add("phone");
    let mut phone = encrypted.connect(&hostname).expect("a connection");
    assert_eq!(ask_on(&mut phone, "tracking.miui.com").data(), ["0.0.0.0"]);
    let server = &encrypted.server;
    server.cli(&["device", "pause", "phone", "--for", "3s"]);
    eventually("the pause", || {
        ask_on(&mut phone, "tracking.miui.com").data() == ["192.0.2.1"]
    });
    eventually("the pause's end", || {
        ask_on(&mut phone, "tracking.miui.com").data() == ["0.0.0.0"]
    });
    let counted = || server.cli(&["stats", "--by", "device", "--csv"]);
    eventually("the counts", || counted().contains("phone"));
    server.cli(&["device", "rename", "phone", "Bob's POCO"]);
    let counts = counted();
    assert!(
        counts.contains("Bob's POCO") && !counts.contains("phone"),
        "{counts}"
    );
    assert_eq!(encrypted.hostname("Bob's POCO"), hostname);
    assert_eq!(ask_on(&mut phone, "www.example").data(), ["192.0.2.1"]);
}

#[test]
fn rfc8467_answers_to_padded_queries_are_padded() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "listen.tls_idle = \"30s\"");
    let mut phone = encrypted
        .connect(&encrypted.add("phone"))
        .expect("a connection");
    for name in [
        "tracking.miui.com",
        "www.example",
        "big.example",
        "nx.example",
    ] {
        write_frame(&mut phone, &with_option(name, 12));
        let answer = read_frame(&mut phone).expect("an answer");
        assert_eq!(answer.len() % 468, 0, "{name}");
        Message::from_vec(&answer).expect("DNS");
        write_frame(&mut phone, &query(7, name, "A"));
        assert_ne!(read_frame(&mut phone).expect("an answer").len() % 468, 0);
    }
    // RFC 7828: 300 tenths of a second.
    write_frame(&mut phone, &with_option("www.example", 11));
    let answer = read_frame(&mut phone).expect("an answer");
    assert!(answer.windows(6).any(|bytes| bytes == [0, 11, 0, 2, 1, 44]));
}

/// What Android asks when it is given a host name, and how it asks later: several at once on one connection.
#[test]
fn androids_probe_and_pattern() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let mut phone = encrypted
        .connect(&encrypted.add("phone"))
        .expect("a connection");
    let probe = "x1y2z3-dnsotls-ds.metric.gstatic.com";
    assert_eq!(ask_on(&mut phone, probe).data(), ["192.0.2.1"]);
    write_frame(&mut phone, &query(0, "slow700.example", "A"));
    for id in 1..=60u16 {
        let name = match id % 2 {
            0 => format!("host{id}.example"),
            _ => "tracking.miui.com".to_owned(),
        };
        write_frame(
            &mut phone,
            &query(id, &name, if id % 3 == 0 { "AAAA" } else { "A" }),
        );
    }
    let ids: Vec<u16> = (0..=60)
        .map(|_| {
            let answer = read_frame(&mut phone).expect("an answer");
            Message::from_vec(&answer).expect("DNS").metadata.id
        })
        .collect();
    assert_eq!(ids.last(), Some(&0), "the slow one holds nobody up");
}

#[test]
fn sessions_are_resumed() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let hostname = encrypted.add("phone");
    let config = encrypted.client();
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let config = Arc::clone(&config);
        let mut connection = encrypted
            .connect_as(config, &hostname)
            .expect("a connection");
        // The ticket comes with the first answer.
        ask_on(&mut connection, "www.example");
        kinds.push(connection.conn.handshake_kind().expect("a handshake"));
    }
    use rustls::HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed, Resumed]);
}

#[test]
fn bad_clients_hurt_nobody_else() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "listen.tls_idle = \"1s\"");
    let hostname = encrypted.add("phone");
    let mut junk: Vec<TcpStream> = (0..30u8)
        .map(|n| {
            let mut stream = TcpStream::connect(encrypted.tls).expect("a connection");
            let bytes: Vec<u8> = (0..200u8)
                .map(|i| i.wrapping_mul(31).wrapping_add(n))
                .collect();
            let _ = stream.write_all(&bytes[..usize::from(n) * 6]);
            stream
        })
        .collect();
    let mut phone = encrypted.connect(&hostname).expect("a connection");
    // A message byte by byte, then one that says it is longer than it is.
    let message = query(9, "www.example", "A");
    let mut frame = (message.len() as u16).to_be_bytes().to_vec();
    frame.extend(message);
    for byte in frame {
        phone.write_all(&[byte]).expect("to write");
        phone.flush().expect("to write");
    }
    let answer = Answer::new(read_frame(&mut phone).expect("an answer"));
    assert_eq!(answer.data(), ["192.0.2.1"]);
    phone.write_all(&[0xff, 0xff, 1, 2, 3]).expect("to write");
    phone.flush().expect("to write");
    let mut rest = Vec::new();
    let start = std::time::Instant::now();
    let _ = phone.read_to_end(&mut rest);
    assert!(rest.is_empty() && start.elapsed() < Duration::from_secs(5));
    for stream in &mut junk {
        let _ = stream.write_all(&[0; 10]);
    }
    assert!(encrypted.connect(&hostname).is_ok());
    assert_eq!(
        ask(encrypted.server.dns, "www.example", "A").data(),
        ["192.0.2.1"]
    );
}

#[test]
fn a_new_certificate_is_taken_up_and_a_bad_one_is_not() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    let authority = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(ca, authority).expect("an authority");
    let issue = |names: &[&str], write: (bool, bool)| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let own = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(names).expect("names");
        let leaf = params.signed_by(&own, &issuer).expect("a certificate");
        if write.0 {
            std::fs::write(&chain, leaf.pem()).expect("to write");
        }
        if write.1 {
            std::fs::write(&key, own.serialize_pem()).expect("to write");
        }
        leaf.der().to_vec()
    };
    let first = issue(&[HOSTNAME, "*.dns.test"], (true, true));
    let tls = format!(
        "certificate = \"{}\"\nkey = \"{}\"",
        chain.display(),
        key.display()
    );
    let more = "[access]\nencrypted = [\"127.0.0.0/8\"]";
    let encrypted = Encrypted::start_with(upstream.address, &tls, more);
    let authority = encrypted.authority();
    std::fs::create_dir_all(authority.parent().expect("a folder")).expect("a folder");
    std::fs::write(&authority, issuer.pem()).expect("to write");
    let shown = |connection: &Connection| {
        let chain = connection.conn.peer_certificates().expect("a certificate");
        chain[0].to_vec()
    };
    let mut open = encrypted.connect(HOSTNAME).expect("a connection");
    assert_eq!(shown(&open), first);
    let second = issue(&[HOSTNAME, "*.dns.test"], (true, true));
    eventually("the new certificate", || {
        encrypted
            .connect(HOSTNAME)
            .is_ok_and(|c| shown(&c) == second)
    });
    assert_eq!(
        ask_on(&mut open, "www.example").data(),
        ["192.0.2.1"],
        "the old connection goes on"
    );
    // Another's key, then another's name: the good one stays, and the log says why.
    issue(&[HOSTNAME], (false, true));
    eventually("a message", || {
        encrypted
            .server
            .log()
            .contains("does not hold the key of the certificate")
    });
    issue(&["elsewhere.test"], (true, true));
    eventually("a message", || {
        encrypted
            .server
            .log()
            .contains("the certificate is for elsewhere.test, not for dns.test")
    });
    let kept = encrypted.connect(HOSTNAME).expect("a connection");
    assert_eq!(shown(&kept), second);
}

#[test]
fn kdig_and_openssl_agree() {
    if !have("kdig") || !have("openssl") {
        return;
    }
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let hostname = encrypted.add("phone");
    let authority = encrypted.authority().display().to_string();
    let kdig = |port: u16, more: &[&str]| {
        let output = Command::new("kdig")
            .args(["@127.0.0.1", "-p", &port.to_string(), "+padding"])
            .args([
                &format!("+tls-ca={authority}"),
                &format!("+tls-hostname={hostname}"),
            ])
            .args(more)
            .args(["tracking.miui.com", "A"])
            .output()
            .expect("kdig");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let tls = kdig(encrypted.tls.port(), &["+tls"]);
    assert!(
        tls.contains("TLS session (TLS1.3)") && tls.contains("0.0.0.0"),
        "{tls}"
    );
    assert!(
        tls.contains("EDE: 15 (Blocked)") && tls.contains("PADDING"),
        "{tls}"
    );
    for method in ["+https", "+https-get"] {
        let https = kdig(encrypted.https.port(), &[method]);
        assert!(
            https.contains("HTTP session (HTTP/2-") && https.contains("0.0.0.0"),
            "{https}"
        );
    }
    let session = |file: &str, more: &[&str]| {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &encrypted.tls.to_string(),
                "-tls1_2",
                "-alpn",
                "dot",
            ])
            .args(["-servername", &hostname, "-verify_hostname", &hostname])
            .args(["-verify_return_error", "-CAfile", &authority])
            .args(more)
            .arg(file)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let file = encrypted.server.data().join("session");
    let file = file.display().to_string();
    let first = session(&file, &["-sess_out"]);
    assert!(
        first.contains("New, TLSv1.2") && first.contains("ALPN protocol: dot"),
        "{first}"
    );
    assert!(first.contains("Verify return code: 0 (ok)"), "{first}");
    let again = session(&file, &["-sess_in"]);
    assert!(again.contains("Reused, TLSv1.2"), "{again}");
}

#[test]
fn rfc8484_over_both_versions_of_http() {
    if !have("curl") {
        return;
    }
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let hostname = encrypted.add("phone");
    let label = hostname.split('.').next().expect("a label").to_owned();
    let port = encrypted.https.port();
    let authority = encrypted.authority().display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let body = folder.path().join("query");
    std::fs::write(&body, query(0, "www.example", "A")).expect("to write");
    let out = folder.path().join("answer");
    let curl = |host: &str, path: &str, more: &[&str]| {
        let _ = std::fs::remove_file(&out);
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--cacert",
                &authority,
                "--dump-header",
                "-",
            ])
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1"), "--output"])
            .arg(&out)
            .args(more)
            .arg(format!("https://{host}:{port}{path}"))
            .output()
            .expect("curl");
        let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
        (head, std::fs::read(&out).unwrap_or_default())
    };
    let media = "content-type: application/dns-message";
    let data = format!("@{}", body.display());
    let post = ["--data-binary", &data, "--header", media];
    let found = |answer: Vec<u8>| Answer::new(answer).data();
    for (version, shown) in [("--http1.1", "http/1.1 200"), ("--http2", "http/2 200")] {
        let (head, answer) = curl(&hostname, "/dns-query", &[&post[..], &[version]].concat());
        assert!(head.contains(shown) && head.contains(media), "{head}");
        assert!(
            head.contains("cache-control: private, max-age=300") || head.contains("max-age=29"),
            "{head}"
        );
        assert_eq!(found(answer), ["192.0.2.1"]);
    }
    // By the path, under the name that anybody may know: browsers that cannot send a name of their own.
    let encoded = data_encoding::BASE64URL_NOPAD.encode(&query(0, "tracking.miui.com", "A"));
    let (head, answer) = curl(HOSTNAME, &format!("/dns-query/{label}?dns={encoded}"), &[]);
    assert!(head.contains(" 200"), "{head}");
    assert_eq!(found(answer), ["0.0.0.0"]);
    eventually("counts by device", || {
        let stats = encrypted.server.cli(&["stats", "--by", "device", "--csv"]);
        stats.contains("phone")
    });
    // Without one, nothing is told.
    let (_, answer) = curl(HOSTNAME, &format!("/dns-query?dns={encoded}"), &[]);
    assert_eq!(Answer::new(answer).rcode(), ResponseCode::Refused);
    for (host, path, more, code) in [
        (HOSTNAME, "/dns-query/nobody", &post[..], " 404"),
        (&hostname, "/", &[], " 404"),
        (&hostname, "/dns-query", &[], " 400"),
        (&hostname, "/dns-query?dns=*", &[], " 400"),
        (&hostname, "/dns-query?dns=AAAA", &[], " 400"),
        (&hostname, "/dns-query", &["--data", "x"], " 415"),
        (&hostname, "/dns-query", &["--request", "PUT"], " 405"),
    ] {
        let (head, _) = curl(host, path, more);
        assert!(head.contains(code), "{path} {more:?}: {head}");
    }
    let long = folder.path().join("long");
    std::fs::write(&long, vec![0; 70_000]).expect("to write");
    let data = format!("@{}", long.display());
    let (head, _) = curl(
        &hostname,
        "/dns-query",
        &["--data-binary", &data, "--header", media],
    );
    assert!(head.contains(" 413"), "{head}");
}

#[test]
fn what_to_enter_is_shown() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let shown = encrypted.server.cli(&["device", "add", "annes-redmi"]);
    let hostname = encrypted.hostname("annes-redmi");
    assert!(
        shown.contains(&hostname) && shown.contains("Private DNS"),
        "{shown}"
    );
    assert!(
        shown.contains('█') || shown.contains('▄'),
        "a QR code: {shown}"
    );
    let file = encrypted.server.data().join("annes.mobileconfig");
    let path = file.display().to_string();
    encrypted
        .server
        .cli(&["device", "show", "annes-redmi", "--mobileconfig", &path]);
    let profile = std::fs::read_to_string(&file).expect("the profile");
    assert!(profile.contains(&hostname) && profile.contains("com.apple.dnsSettings.managed"));
    let twice = encrypted
        .server
        .command()
        .args(["device", "add", "annes-redmi"])
        .output()
        .expect("the CLI");
    assert!(!twice.status.success());
    let said = String::from_utf8_lossy(&twice.stderr);
    assert!(
        said.contains("there is a device called `annes-redmi` already"),
        "{said}"
    );
}

#[test]
fn rfc9462_clients_learn_how_to_go_on_encrypted() {
    let upstream = Upstream::start();
    let svcb = |server| -> Vec<String> { ask(server, "_dns.resolver.arpa", "SVCB").data() };
    let closed = Encrypted::start(upstream.address, "");
    assert!(
        svcb(closed.server.dns).is_empty(),
        "a stranger would be turned away there"
    );
    let open = Encrypted::start(upstream.address, "[access]\nencrypted = [\"127.0.0.0/8\"]");
    let (tls, https) = (open.tls.port(), open.https.port());
    let told = svcb(open.server.dns);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].starts_with("3 dns.test. alpn=doq"), "{told:?}");
    assert!(
        told[0].starts_with("1 dns.test. alpn=dot") && told[0].contains(&format!("port={tls}")),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("2 dns.test. alpn=h2") && told[1].contains(&format!("port={https}")),
        "{told:?}"
    );
    assert!(told[1].contains("/dns-query{?dns}"), "{told:?}");
    let known = "[[device]]\nname = \"phone\"\nlabel = \"phone-x\"\naddresses = [\"127.0.0.1\"]";
    let by_address = Encrypted::start(upstream.address, known);
    let told = svcb(by_address.server.dns);
    assert!(
        told[0].starts_with("1 phone-x.dns.test. alpn=dot"),
        "{told:?}"
    );
    assert!(by_address.connect("phone-x.dns.test").is_ok());
}

#[test]
fn rfc9250_a_stream_for_each_query() {
    let upstream = Upstream::start();
    let encrypted = Encrypted::start(upstream.address, "");
    let hostname = encrypted.add("phone");
    for (name, expected) in [
        ("tracking.miui.com.", "0.0.0.0"),
        ("www.example.", "192.0.2.1"),
    ] {
        let answer = encrypted.ask_over_quic(&hostname, name).expect("an answer");
        let data: Vec<String> = answer.answers.iter().map(|r| r.data.to_string()).collect();
        assert_eq!(data, [expected]);
    }
    for hostname in [HOSTNAME, "guess.dns.test"] {
        assert!(encrypted.ask_over_quic(hostname, "www.example.").is_err());
    }
    eventually("counts by device", || {
        encrypted
            .server
            .cli(&["stats", "--by", "device", "--csv"])
            .contains("phone")
    });
}
