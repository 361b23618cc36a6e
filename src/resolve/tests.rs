//! The two ways of reading a query, in place and by hickory, have to end in the same bytes.

use proptest::prelude::*;

use super::*;
use crate::config::{self, LogScope};
use crate::record::{Keep, Names};
use crate::server;
use crate::wire::query::write_query;
use crate::wire::rtype;

const CONFIG: &str = r#"
    [rules]
    block = ["blocked.example", "fam-*.example"]
    allow = ["ok.blocked.example"]
    [local]
    "nas.lan" = ["192.168.1.2", "fd00::2"]
    [[device]]
    name = "phone"
    addresses = ["10.0.0.9"]
    label = "phone-x"
    [device.policy]
    answer = "nxdomain"
    [tls]
    hostname = "dns.test"
    [access]
    encrypted = ["10.0.0.0/8"]
    allow = ["127.0.0.0/8", "10.0.0.0/8"]
"#;

fn resolver(folder: &std::path::Path) -> Arc<Resolver> {
    let config = config::parse(CONFIG, "test.toml".as_ref()).unwrap();
    let assembled = config.assemble().unwrap();
    let router = server::router(&config).unwrap();
    let live = server::live(&config, Arc::new(assembled.rules), router, 1);
    let keep = Keep {
        log: LogScope::None,
        log_for: Duration::ZERO,
        counts_for: Duration::ZERO,
    };
    let (recorder, _writer) = Recorder::start(folder, 64, keep);
    let names = Names {
        generation: 1,
        rules: live.rules.clone(),
        devices: live.devices.clone(),
    };
    recorder.publish(names, keep);
    Arc::new(Resolver::new(live, 1 << 20, recorder))
}

/// Puts answers for `cached.example` into the cache, so that both ways meet them there.
fn fill_cache(resolver: &Resolver) {
    let live = resolver.live();
    for (dnssec_ok, edns) in [(false, true), (true, true), (false, false)] {
        for checking_disabled in [false, true] {
            let name = Name::from_text("cached.example").unwrap();
            let edns = edns.then_some(Edns {
                payload: 1232,
                dnssec_ok,
            });
            let mut asked = write_query(1, &name, rtype::A, edns);
            asked[3] |= if checking_disabled { 0x10 } else { 0 };
            let query = Query::parse(&asked).unwrap();
            let mut response = Vec::new();
            let mut reply = Reply::new(&mut response, &query, rcode::NOERROR);
            for last in 0..100 {
                reply.address(IpAddr::from([192, 0, 2, last]), 3600);
            }
            reply.finish([Ede {
                code: 29,
                text: "made up",
            }]);
            let now = resolver.cache.now();
            let entry = Entry::from_response(&response, &query, &live.limits, now).unwrap();
            resolver.cache.insert(&query, Arc::new(entry));
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("blocked.example".to_owned()),
        Just("x.OK.blocked.example".to_owned()),
        Just("fam-17.Example".to_owned()),
        Just("Cached.Example".to_owned()),
        Just("nas.lan".to_owned()),
        Just("tracking.MIUI.com".to_owned()),
        Just("localhost".to_owned()),
        Just("a.onion".to_owned()),
        Just("1.0.0.127.in-addr.arpa".to_owned()),
        Just("4.3.168.192.in-addr.arpa".to_owned()),
        "[a-zA-Z0-9_-]{1,20}\\.blocked\\.example",
    ]
}

fn qtype() -> impl Strategy<Value = u16> {
    let known = [1u16, 2, 5, 6, 12, 15, 16, 28, 33, 41, 64, 65, 251, 252, 255];
    prop_oneof![prop::sample::select(known.to_vec()), any::<u16>(),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn both_ways_of_reading_give_the_same_bytes(
        name in name(),
        qtype in qtype(),
        class in prop_oneof![9 => Just(1u16), 1 => any::<u16>()],
        id in any::<u16>(),
        flags in any::<(bool, bool, bool)>(),
        edns in prop::option::of((0u16..5000, any::<bool>(), prop::collection::vec((0u16..20, 0usize..12), 0..3))),
        source in prop::sample::select(vec!["127.0.0.1:5353", "10.0.0.9:5353", "192.0.2.9:5353"]),
        via in prop::sample::select(vec![
            Via::Udp(1232),
            Via::Tcp(Duration::from_secs(10)),
            Via::Tls(Duration::from_secs(10)),
            Via::Https,
        ]),
        label in prop::option::of(prop::sample::select(vec!["phone-x", "nobody-x"])),
    ) {
        // One resolver for all cases: what they ask leaves nothing behind.
        static RESOLVER: std::sync::LazyLock<(tokio::runtime::Runtime, Arc<Resolver>)> =
            std::sync::LazyLock::new(|| {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let folder = tempfile::tempdir().unwrap();
                let resolver = runtime.block_on(async { resolver(folder.path()) });
                fill_cache(&resolver);
                (runtime, resolver)
            });
        let (runtime, resolver) = &*RESOLVER;
        let parsed = Name::from_text(&name).unwrap();
        let opt = edns.as_ref().map(|(payload, dnssec_ok, _)| Edns { payload: *payload, dnssec_ok: *dnssec_ok });
        let mut message = write_query(id, &parsed, qtype, opt);
        // The case as drawn, the class, and the bits that a client may set.
        let mut at = 13;
        for label in name.split('.') {
            message[at..at + label.len()].copy_from_slice(label.as_bytes());
            at += label.len() + 1;
        }
        let class_at = 12 + parsed.wire().len() + 2;
        message[class_at..class_at + 2].copy_from_slice(&class.to_be_bytes());
        message[2] = u8::from(flags.0);
        message[3] = u8::from(flags.1) << 5 | u8::from(flags.2) << 4;
        if let Some((_, _, options)) = &edns {
            let length_at = message.len() - 2;
            for (code, length) in options {
                message.extend_from_slice(&code.to_be_bytes());
                message.extend_from_slice(&(*length as u16).to_be_bytes());
                message.extend(std::iter::repeat_n(7u8, *length));
            }
            let length = (message.len() - length_at - 2) as u16;
            message[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        }
        let source = Source { address: source.parse().unwrap(), label: label.map(Arc::from), via };
        let mut quick = Vec::new();
        let _inside = runtime.enter();
        let outcome = resolver.quick(&message, &source, &mut resolver.recorder.tally(), &mut quick);
        if outcome == Quick::Answered {
            // hickory is stricter about some options (a client subnet that makes no sense, say).
            if let Ok(request) = Request::from_bytes(message.clone(), source.address, via.protocol()) {
                let general = runtime.block_on(resolver.answer_request(&request, &source));
                prop_assert_eq!(Some(quick), general);
            }
        }
    }

    #[test]
    fn no_message_panics(message in prop::collection::vec(any::<u8>(), 0..100), head in any::<bool>()) {
        let mut message = message;
        if head && message.len() > 12 {
            message[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        if let Some(query) = Query::parse(&message) {
            let mut out = Vec::new();
            own::write_unusual(&mut out, &query);
            Reply::new(&mut out, &query, 0).finish([]);
        }
        let _ = Request::from_bytes(message, ([127, 0, 0, 1], 1).into(), Protocol::Udp);
    }
}
