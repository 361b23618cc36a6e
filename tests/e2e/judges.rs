//! Programs that this project did not write say the same. Each is a Debian package; where it is missing the
//! test says so, and `.ci/run` makes that a failure.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_net::client::{Client, ClientHandle};
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::udp::UdpClientStream;
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::common::process::{free_port, write};
use crate::common::{Taciturn, Upstream, ask, eventually, have};

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("the program");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn dig_sees_blocked_and_answered() {
    if !have("dig") {
        return;
    }
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let (at, port) = (
        format!("@{}", server.dns.ip()),
        server.dns.port().to_string(),
    );
    let dig = |more: &[&str]| output("dig", &[&[at.as_str(), "-p", &port], more].concat());
    let blocked = dig(&["tracking.miui.com"]);
    assert!(
        blocked.contains("status: NOERROR") && blocked.contains("0.0.0.0"),
        "{blocked}"
    );
    assert!(
        blocked.contains("EDE: 15 (Blocked): (catalogue)"),
        "{blocked}"
    );
    assert!(!blocked.contains("WARNING"), "{blocked}");
    let open = dig(&["www.example", "+dnssec"]);
    assert!(
        open.contains("192.0.2.1") && !open.contains("WARNING"),
        "{open}"
    );
    let denied = dig(&["nx.example"]);
    assert!(
        denied.contains("status: NXDOMAIN") && denied.contains("SOA"),
        "{denied}"
    );
    let long = dig(&["big.example", "TXT"]);
    assert!(long.contains("Truncated, retrying in TCP mode"), "{long}");
    assert!(long.contains("ANSWER: 40"), "{long}");
    let odd = dig(&["www.example", "+edns=7", "+noednsneg"]);
    assert!(odd.contains("status: BADVERS"), "{odd}");
    let cookie = dig(&["www.example", "+cookie", "+nsid", "+subnet=192.0.2.0/24"]);
    assert!(cookie.contains("status: NOERROR"), "{cookie}");
    let bare = dig(&["www.example", "+noedns", "+tcp"]);
    assert!(
        bare.contains("192.0.2.1") && !bare.contains("EDNS:"),
        "{bare}"
    );
}

#[test]
fn kdig_keeps_a_tcp_connection() {
    if !have("kdig") {
        return;
    }
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let port = server.dns.port().to_string();
    let at = format!("@{}", server.dns.ip());
    let seen = output(
        "kdig",
        &[
            &at,
            "-p",
            &port,
            "+tcp",
            "+keepopen",
            "tracking.miui.com",
            "www.example",
            "tracking.miui.com",
            "HTTPS",
        ],
    );
    assert!(
        seen.contains("0.0.0.0") && seen.contains("192.0.2.1"),
        "{seen}"
    );
    assert!(!seen.to_lowercase().contains("warning"), "{seen}");
}

#[test]
fn hickorys_own_client_is_content() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let stream = UdpClientStream::builder(server.dns, TokioRuntimeProvider::default())
            .with_timeout(Some(Duration::from_secs(5)))
            .build();
        let (mut client, background) = Client::<TokioRuntimeProvider>::from_sender(stream);
        tokio::spawn(background);
        for (name, data) in [
            ("tracking.miui.com.", "0.0.0.0"),
            ("www.example.", "192.0.2.1"),
        ] {
            let name = Name::from_ascii(name).expect("a name");
            let answer = client
                .query(name, DNSClass::IN, RecordType::A)
                .await
                .expect("an answer");
            assert_eq!(answer.answers[0].data.to_string(), data);
        }
    });
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// unbound with a local zone: a real resolver as upstream.
fn unbound(folder: &std::path::Path, more: &str) -> (Running, u16) {
    let port = free_port();
    let config = format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n \
         pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n directory: \"{}\"\n do-not-query-localhost: no\n \
         module-config: \"iterator\"\n{more}\nremote-control:\n control-enable: no\n",
        folder.display()
    );
    let path = write(folder, "unbound.conf", &config);
    let child = Command::new("unbound")
        .args(["-d", "-c", &path])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("unbound");
    (Running(child), port)
}

#[test]
fn unbound_as_upstream() {
    // Debian keeps daemons out of a user's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let found = have("unbound") || std::path::Path::new("/usr/sbin/unbound").exists();
    if !found {
        return;
    }
    assert!(path.contains("sbin") || !found || have("unbound"));
    let folder = tempfile::tempdir().expect("a folder");
    let zone = " local-zone: \"shop.example.\" static\n \
        local-data: \"shop.example. 3600 IN SOA ns.shop.example. h.shop.example. 1 2 3 4 60\"\n \
        local-data: \"www.shop.example. 120 IN A 198.51.100.7\"\n \
        local-data: \"mail.shop.example. 120 IN MX 10 mx.shop.example.\"\n";
    let (_running, port) = unbound(folder.path(), zone);
    let server = Taciturn::start(([127, 0, 0, 1], port).into(), "");
    eventually("unbound to answer", || {
        ask(server.dns, "www.shop.example", "A").data() == ["198.51.100.7"]
    });
    assert_eq!(
        ask(server.dns, "mail.shop.example", "MX").data(),
        ["10 mx.shop.example."]
    );
    let denied = ask(server.dns, "none.shop.example", "A");
    assert_eq!(denied.rcode(), hickory_proto::op::ResponseCode::NXDomain);
    assert_eq!(denied.message.authorities.len(), 1);
    assert_eq!(
        ask(server.dns, "tracking.miui.com", "A").data(),
        ["0.0.0.0"]
    );
}
