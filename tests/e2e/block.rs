//! Vendor telemetry is blocked, the rest is answered, and every answer is one that clients understand.

use crate::common::{Taciturn, Upstream, ask};
use hickory_proto::op::ResponseCode;

#[test]
fn blocked_recorded_and_allowed() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    for name in [
        "tracking.miui.com",
        "x.y.tracking.miui.com",
        "sdkconfig.ad.intl.xiaomi.com",
    ] {
        let answer = ask(server.dns, name, "A");
        assert_eq!(answer.rcode(), ResponseCode::NoError, "{name}");
        assert_eq!(answer.data(), ["0.0.0.0"], "{name}");
        assert_eq!(answer.errors(), [(15, "catalogue".to_owned())], "{name}");
        assert_eq!(upstream.asked(name), 0, "{name}");
    }
    assert_eq!(ask(server.dns, "tracking.miui.com", "AAAA").data(), ["::"]);
    for name in [
        "cloudconf-app-zz.heytapmobile.com",
        "xiaomi.com",
        "www.example",
    ] {
        let answer = ask(server.dns, name, "A");
        assert_eq!(answer.data(), ["192.0.2.1"], "{name}");
        assert_eq!(upstream.asked(name), 1, "{name}");
    }
}

#[test]
fn types_that_could_carry_addresses_get_nothing() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    for kind in ["HTTPS", "SVCB", "TXT", "MX", "CNAME", "SRV", "NS"] {
        let answer = ask(server.dns, "tracking.miui.com", kind);
        assert_eq!(answer.rcode(), ResponseCode::NoError, "{kind}");
        assert!(answer.message.answers.is_empty(), "{kind}");
        assert_eq!(answer.message.authorities.len(), 1, "{kind} has an SOA");
        assert_eq!(answer.message.authorities[0].ttl, 300, "{kind}");
    }
    assert_eq!(upstream.asked("tracking.miui.com"), 0);
}

#[test]
fn every_block_answer() {
    let upstream = Upstream::start();
    let mut server = Taciturn::prepare(upstream.address, "");
    for (policy, code, data) in [
        ("answer = \"null\"", ResponseCode::NoError, vec!["0.0.0.0"]),
        ("answer = \"nxdomain\"", ResponseCode::NXDomain, vec![]),
        ("answer = \"nodata\"", ResponseCode::NoError, vec![]),
        ("answer = \"refused\"", ResponseCode::Refused, vec![]),
        (
            "answer = \"address\"\naddresses = [\"192.0.2.80\", \"2001:db8::80\"]\nttl = \"7s\"",
            ResponseCode::NoError,
            vec!["192.0.2.80"],
        ),
    ] {
        server.configure(upstream.address, &format!("[policy]\n{policy}"));
        server.run();
        let answer = ask(server.dns, "tracking.miui.com", "A");
        assert_eq!(answer.rcode(), code, "{policy}");
        assert_eq!(answer.data(), data, "{policy}");
        if policy.contains("ttl") {
            assert_eq!(answer.message.answers[0].ttl, 7);
            assert_eq!(
                ask(server.dns, "tracking.miui.com", "AAAA").data(),
                ["2001:db8::80"]
            );
        }
        server.kill();
    }
}

#[test]
fn own_rules_and_devices() {
    let upstream = Upstream::start();
    let config = "
        [rules]
        allow = [\"tracking.miui.com\"]
        block = [\"ads-*.shop.example\", \"*.bad.example\"]
        [[device]]
        name = \"this-machine\"
        addresses = [\"127.0.0.1\"]
        [device.policy]
        answer = \"nxdomain\"
        categories = { store = \"block\" }
    ";
    let server = Taciturn::start(upstream.address, config);
    let data = |name: &str| ask(server.dns, name, "A").data();
    assert_eq!(data("tracking.miui.com"), ["192.0.2.1"]);
    assert_eq!(data("ads.shop.example"), ["192.0.2.1"]);
    let own = ask(server.dns, "ads-7.shop.example", "A");
    assert_eq!(own.rcode(), ResponseCode::NXDomain);
    assert_eq!(own.errors(), [(17, "rules".to_owned())]);
    let by_device = ask(server.dns, "browser.coloros.com", "A");
    assert_eq!(by_device.rcode(), ResponseCode::NXDomain);
    assert_eq!(by_device.errors(), [(17, "catalogue".to_owned())]);
    crate::common::eventually("the device in the counts", || {
        let stats = server.cli(&["stats", "--by", "device", "--csv"]);
        stats.contains("\"this-machine\",2,0,")
    });
}

#[test]
fn the_firefox_canary_does_not_exist() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let answer = ask(server.dns, "use-application-dns.net", "A");
    assert_eq!(answer.rcode(), ResponseCode::NXDomain);
}

#[test]
fn special_names_never_leak() {
    let upstream = Upstream::start();
    let config = "
        [local]
        \"nas.lan\" = [\"192.168.7.2\", \"fd00::2\"]
        \"files.lan\" = \"nas.lan\"
        \"shop.lan\" = \"www.example\"
        [forward.\"corp.internal\"]
        servers = [\"udp://UPSTREAM\"]
    "
    .replace("UPSTREAM", &upstream.address.to_string());
    let server = Taciturn::start(upstream.address, &config);
    for (name, kind, code) in [
        ("x.onion", "A", ResponseCode::NXDomain),
        ("printer.local", "A", ResponseCode::NXDomain),
        ("some.invalid", "A", ResponseCode::NXDomain),
        ("other.internal", "A", ResponseCode::NXDomain),
        ("9.9.168.192.in-addr.arpa", "PTR", ResponseCode::NXDomain),
        ("_dns.resolver.arpa", "SVCB", ResponseCode::NoError),
    ] {
        let answer = ask(server.dns, name, kind);
        assert_eq!(answer.rcode(), code, "{name}");
        assert_eq!(answer.message.authorities.len(), 1, "{name}");
        assert_eq!(upstream.asked(name), 0, "{name}");
    }
    let data = |name: &str, kind: &str| ask(server.dns, name, kind).data();
    assert_eq!(data("localhost", "A"), ["127.0.0.1"]);
    assert_eq!(data("1.0.0.127.in-addr.arpa", "PTR"), ["localhost."]);
    assert_eq!(data("host.corp.internal", "A"), ["192.0.2.1"]);
    assert_eq!(data("nas.lan", "A"), ["192.168.7.2"]);
    assert_eq!(data("nas.lan", "AAAA"), ["fd00::2"]);
    assert_eq!(data("files.lan", "A"), ["nas.lan.", "192.168.7.2"]);
    assert_eq!(data("shop.lan", "A"), ["www.example.", "192.0.2.1"]);
    assert_eq!(data("2.7.168.192.in-addr.arpa", "PTR"), ["nas.lan."]);
}

#[test]
fn rfc8482_any_and_other_odd_questions() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let any = ask(server.dns, "www.example", "ANY");
    assert_eq!(any.message.answers[0].record_type().to_string(), "HINFO");
    assert_eq!(
        ask(server.dns, "www.example", "AXFR").rcode(),
        ResponseCode::Refused
    );
    assert_eq!(upstream.asked("www.example"), 0);
}

#[test]
fn strangers_are_refused() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "[access]\nallow = [\"10.0.0.0/8\"]");
    let answer = ask(server.dns, "www.example", "A");
    assert_eq!(answer.rcode(), ResponseCode::Refused);
    assert_eq!(answer.errors(), [(18, String::new())]);
    assert_eq!(
        ask(server.dns, "tracking.miui.com", "A").rcode(),
        ResponseCode::Refused
    );
}
