use proptest::prelude::*;

use super::*;
use crate::policy::Pattern;

/// The rules of a list as one text each: `@@` for exceptions, then `=` exact, `.` with what lies below,
/// `*` only what lies below, `~` a pattern, `/` an expression, `#` a network.
fn read(text: &str, format: Option<&str>) -> (Vec<String>, ParseReport) {
    let mut rules = Vec::new();
    let format = format.map(|name| Format::by_name(name).unwrap());
    let mut duplicates = 0;
    let mut report = parse(text.as_bytes(), format, None, |rule| {
        let text = match rule.pattern {
            Pattern::Name(name, Scope::Exact) => format!("={name}"),
            Pattern::Name(name, Scope::Suffix) => format!(".{name}"),
            Pattern::Name(name, Scope::Below) => format!("*{name}"),
            Pattern::Glob(glob) => format!("~{glob}"),
            Pattern::Regex(regex) => format!("/{regex}"),
            Pattern::Network(network) => format!("#{network}"),
        };
        let text = if rule.allow {
            format!("@@{text}")
        } else {
            text
        };
        if rules.contains(&text) {
            duplicates += 1;
        } else {
            rules.push(text);
        }
    })
    .unwrap();
    report.count_duplicates(duplicates);
    (rules, report)
}

#[test]
fn domains_with_comments_bom_crlf_and_idn() {
    let (rules, report) = read(
        "\u{feff}# head\r\nAds.Example.com\r\nbücher.example # shop\r\n\r\n.dot.example\n*.star.example\n\
         ads.example.com\n192.0.2.0/24\nstat-*.example\ncom\nbad..name\n",
        None,
    );
    assert_eq!(report.format, "domains");
    assert_eq!(
        rules,
        [
            ".ads.example.com",
            ".xn--bcher-kva.example",
            ".dot.example",
            ".star.example",
            "#192.0.2.0/24",
            "~stat-*.example"
        ]
    );
    assert_eq!((report.rules, report.duplicates, report.junk), (6, 1, 2));
    assert_eq!(report.junk_lines[0].line, 10);
    assert_eq!(report.junk_lines[1].why, "has an empty label");
}

#[test]
fn hosts_files_are_exact_and_their_own_names_are_kept() {
    let (rules, report) = read(
        "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n0.0.0.0 0.0.0.0\n\
         0.0.0.0 a.example b.example # both\n0.0.0.0\tc.example\nfe80::1%lo0 localhost\nrubbish\n",
        None,
    );
    assert_eq!(report.format, "hosts");
    assert_eq!(rules, ["=a.example", "=b.example", "=c.example"]);
    assert_eq!(report.junk, 1);
    assert_eq!(report.junk_lines[0].line, 7);
}

#[test]
fn adblock_style_as_far_as_dns_goes() {
    let (rules, report) = read(
        "[Adblock Plus 2.0]\n! Title: x\n||ads.example^\n@@||ok.ads.example^|\n||imp.example^$important\n\
         ||img.example^$image\n/^stat[0-9]+\\./\n|exact.example^\n||a*.glob.example^\nplain.example\n\
         0.0.0.0 hosts.example\nexample.com##.ad\n||example.com/path^\n@@/^ok/\n/(unclosed/\n",
        None,
    );
    assert_eq!(report.format, "adblock");
    assert_eq!(
        rules,
        [
            ".ads.example",
            "@@.ok.ads.example",
            ".imp.example",
            "/^stat[0-9]+\\.",
            "=exact.example",
            "~a*.glob.example",
            ".plain.example",
            ".hosts.example",
            "@@/^ok",
        ]
    );
    let lines: Vec<usize> = report.junk_lines.iter().map(|junk| junk.line).collect();
    assert_eq!(lines, [6, 12, 13, 15]);
    assert_eq!(report.junk_lines[3].why, "unclosed group");
}

#[test]
fn wildcards_and_regexes() {
    let (rules, report) = read("*.a.example\n*.b.example\n", None);
    assert_eq!((report.format.as_str(), rules.len()), ("wildcard", 2));
    assert_eq!(rules[0], ".a.example");
    let (rules, report) = read("/^ad[sv]\\./\n/track/\nplain.example\n", None);
    assert_eq!(report.format, "regex");
    assert_eq!(rules, ["/^ad[sv]\\.", "/track", ".plain.example"]);
}

#[test]
fn response_policy_zones() {
    let zone = "$TTL 300\n\
        @ IN SOA ns.rpz.example. host.rpz.example. (\n  1 ; serial\n  3600\n  600 86400 60 )\n\
        \x20 IN NS localhost.\n\
        $ORIGIN rpz.example.\n\
        ads.example IN CNAME .\n\
        *.ads.example CNAME .\n\
        ok.ads.example 60 IN CNAME rpz-passthru.\n\
        nodata.example CNAME *.\n\
        garden.example A 192.0.2.80\n\
        absolute.example.rpz.example. CNAME .\n\
        24.0.2.0.192.rpz-ip CNAME .\n\
        48.zz.db8.2001.rpz-ip CNAME .\n\
        ns.evil.example.rpz-nsdname CNAME .\n\
        tcp.example CNAME rpz-tcp-only.\n";
    let (rules, report) = read(zone, None);
    assert_eq!(report.format, "rpz");
    assert_eq!(
        rules,
        [
            "=ads.example",
            "*ads.example",
            "@@=ok.ads.example",
            "=nodata.example",
            "=garden.example",
            "=absolute.example",
            "#192.0.2.0/24",
            "#2001:db8::/48",
        ]
    );
    let lines: Vec<usize> = report.junk_lines.iter().map(|junk| junk.line).collect();
    assert_eq!(lines, [16, 17], "{:?}", report.junk_lines);
}

#[test]
fn the_owner_decides_what_plain_names_cover() {
    let mut scopes = Vec::new();
    for subdomains in [Some(true), Some(false), None] {
        parse(&b"0.0.0.0 a.example"[..], None, subdomains, |rule| {
            if let Pattern::Name(_, scope) = rule.pattern {
                scopes.push(scope);
            }
        })
        .unwrap();
    }
    assert_eq!(scopes, [Scope::Suffix, Scope::Exact, Scope::Exact]);
}

#[test]
fn junk_is_counted_in_full_and_kept_in_part() {
    let text = "a b c\n".repeat(100) + &"x".repeat(5000) + "\x1b\x07\n";
    let (_, report) = read(&text, Some("domains"));
    assert_eq!((report.junk, report.junk_lines.len()), (101, 20));
    let (_, report) = read("ev\x1bil\x07 line\n", Some("domains"));
    assert_eq!(report.junk_lines[0].text, "ev\u{fffd}il\u{fffd} line");
}

proptest! {
    #[test]
    fn no_parser_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), which in 0usize..6) {
        let report = parse(&bytes[..], Some(Format::ALL[which]), None, |_| {}).unwrap();
        prop_assert!(report.junk_lines.len() <= 20);
        parse(&bytes[..], None, None, |_| {}).unwrap();
    }

    #[test]
    fn no_parser_panics_on_near_misses(
        text in "[@|$!#/*;. \ta-c0-9:^\\n()\"-]{0,200}(CNAME|SOA|rpz-ip|\\$ORIGIN|ü)?[. \na-c*]{0,40}",
        which in 0usize..6,
    ) {
        parse(text.as_bytes(), Some(Format::ALL[which]), None, |_| {}).unwrap();
    }

    #[test]
    fn every_plain_name_survives(names in prop::collection::hash_set("[a-z][a-z0-9-]{0,9}(\\.[a-z]{2,6}){1,3}", 1..40)) {
        let text: String = names.iter().map(|n| format!("{n}\n")).collect();
        let (rules, report) = read(&text, None);
        prop_assert_eq!(report.junk, 0);
        prop_assert_eq!(rules.len(), names.len());
    }
}
