//! A tracker does not get through by hiding behind another name.

use hickory_proto::op::ResponseCode;

use crate::common::process::write;
use crate::common::{Taciturn, Upstream, ask, eventually};

#[test]
fn cname_chains_are_followed() {
    let upstream = Upstream::start();
    upstream.alias("metrics.shop.example", "edge.cdn.example");
    upstream.alias("edge.cdn.example", "data.mistat.intl.xiaomi.com");
    upstream.alias("www.shop.example", "edge2.cdn.example");
    let server = Taciturn::start(upstream.address, "");
    for round in 0..2 {
        let hidden = ask(server.dns, "metrics.shop.example", "A");
        assert_eq!(hidden.data(), ["0.0.0.0"], "round {round}");
        assert_eq!(hidden.errors(), [(15, "catalogue".to_owned())]);
        let open = ask(server.dns, "www.shop.example", "A");
        assert_eq!(open.data(), ["edge2.cdn.example.", "192.0.2.1"]);
    }
    assert_eq!(
        upstream.asked("metrics.shop.example"),
        1,
        "the cache is inspected, too"
    );
    eventually("the log to say what hid", || {
        let log = server.cli(&["log", "--json"]);
        log.contains("\"via\":\"data.mistat.intl.xiaomi.com\"")
            && log.contains("\"rule\":\"mistat.*.xiaomi.com\"")
    });
}

#[test]
fn https_records_are_followed() {
    let upstream = Upstream::start();
    upstream.https("m.shop.example", "tracking.miui.com");
    upstream.https("w.shop.example", "cdn.example");
    let server = Taciturn::start(upstream.address, "");
    let hidden = ask(server.dns, "m.shop.example", "HTTPS");
    assert!(hidden.message.answers.is_empty());
    assert_eq!(hidden.errors(), [(15, "catalogue".to_owned())]);
    assert_eq!(
        ask(server.dns, "w.shop.example", "HTTPS")
            .message
            .answers
            .len(),
        1
    );
}

#[test]
fn listed_addresses_are_found_in_answers() {
    let upstream = Upstream::start();
    upstream.address("ip.shop.example", "203.0.113.9");
    upstream.address("ok.shop.example", "203.0.114.9");
    upstream.https_hint("ip.shop.example", "203.0.113.9");
    upstream.https_hint("ok.shop.example", "203.0.114.9");
    let folder = tempfile::tempdir().expect("a folder");
    let list = write(folder.path(), "list", "203.0.113.0/24\nads.shop.example\n");
    let config = format!("[[list]]\nname = \"addresses\"\nfile = \"{list}\"");
    let server = Taciturn::start(upstream.address, &config);
    let blocked = ask(server.dns, "ip.shop.example", "A");
    assert_eq!(blocked.data(), ["0.0.0.0"]);
    assert_eq!(blocked.errors(), [(15, "addresses".to_owned())]);
    assert_eq!(
        ask(server.dns, "ok.shop.example", "A").data(),
        ["203.0.114.9"]
    );
    let answers = |name| ask(server.dns, name, "HTTPS").message.answers.len();
    assert_eq!(answers("ip.shop.example"), 0, "a hint is an address, too");
    assert_eq!(answers("ok.shop.example"), 1);
}

#[test]
fn what_must_work_is_not_looked_into() {
    let upstream = Upstream::start();
    upstream.alias("connect.rom.miui.com", "tracking.miui.com");
    let config = "[rules]\nallow = [\"mine.example\"]";
    upstream.alias("mine.example", "tracking.miui.com");
    let server = Taciturn::start(upstream.address, config);
    for name in ["connect.rom.miui.com", "mine.example"] {
        assert_eq!(ask(server.dns, name, "A").data().len(), 2, "{name}");
    }
}

#[test]
fn rebinding_protection() {
    let upstream = Upstream::start();
    for name in ["evil.example", "host.home.example"] {
        upstream.address(name, "192.168.1.1");
        upstream.https_hint(name, "192.168.1.1");
    }
    let config = "upstream.rebind_protection = true\nupstream.rebind_allow = [\"home.example\"]";
    let server = Taciturn::start(upstream.address, config);
    let evil = ask(server.dns, "evil.example", "A");
    assert_eq!(evil.rcode(), ResponseCode::NoError);
    assert!(evil.data().is_empty());
    let answers = |name| ask(server.dns, name, "HTTPS").message.answers.len();
    assert_eq!(answers("evil.example"), 0);
    assert_eq!(answers("host.home.example"), 1);
    assert_eq!(
        ask(server.dns, "host.home.example", "A").data(),
        ["192.168.1.1"]
    );
    assert_eq!(ask(server.dns, "www.example", "A").data(), ["192.0.2.1"]);
}
