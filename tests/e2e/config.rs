//! Mistakes in the configuration: file, line, what was expected, and how to mend it.

use crate::common::process::{command, write};

fn check(text: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "taciturn.toml", text);
    let output = command()
        .args(["config", "check", &path])
        .output()
        .expect("the CLI");
    let said = String::from_utf8_lossy(&output.stderr).replace(&path, "taciturn.toml");
    (
        output.status.success(),
        said.trim_start_matches("error: ").trim_end().to_owned(),
    )
}

#[test]
fn every_mistake_has_its_message() {
    for (text, message) in [
        (
            "[listen]\ntcp_idel = \"10s\"",
            "taciturn.toml:2: unknown key `tcp_idel` in [listen]; did you mean `tcp_idle`? expected one of \
             dns, tls, https, quic, udp_sockets, udp_batches, udp_payload, udp_rate, udp_burst, udp_unlimited, tcp_idle, tcp_connections, \
             tcp_connections_per_address, tls_idle, tls_connections, tls_connections_per_address, tcp_pipeline, \
             waiting",
        ),
        (
            "[lsiten]\n",
            "taciturn.toml:1: unknown key `lsiten` in [lsiten]; did you mean `listen`? expected one of data, \
             listen, tls, access, upstream, forward, cache, policy, rules, lists, list, device, local, record, web",
        ),
        (
            "[listen]\ntcp_idle = 10",
            "taciturn.toml:2: `10` is a number; expected a time such as \"10s\", \"5m\", \"24h\" or \"30d\"",
        ),
        (
            "[cache]\nsize = \"lots\"",
            "taciturn.toml:2: `lots` is not a size; expected a size such as \"16 MiB\" or a number of bytes",
        ),
        (
            "[listen]\ndns = [\"127.0.0.1\"]",
            "taciturn.toml:2: invalid socket address syntax; expected an address with a port such as \
             \"127.0.0.1:5300\" or \"[::1]:5300\"",
        ),
        (
            "\n\n[upstream]\nservers = [\"tsl://9.9.9.9\"]",
            "taciturn.toml:4: `tsl://9.9.9.9` has a scheme that is not known: `tsl`; expected an upstream such \
             as \"tls://9.9.9.9#dns.quad9.net\", \"https://dns.quad9.net/dns-query\", \"quic://…\", \"h3://…\", \
             \"udp://192.168.1.1\" or \"tcp://…\"",
        ),
        (
            "[upstream]\nservers = []",
            "taciturn.toml: [upstream] servers is empty; name at least one, or leave the key out",
        ),
        (
            "[policy.categories]\ntelemetry = \"bock\"",
            "taciturn.toml:2: unknown value `bock`; did you mean `block`? expected one of allow, record, block",
        ),
        (
            "[policy]\nanswer = \"address\"",
            "taciturn.toml: [policy] answer = \"address\" needs the key addresses",
        ),
        (
            "[policy]\naddresses = [\"192.0.2.1\"]",
            "taciturn.toml: [policy] addresses has no effect without answer = \"address\"; set that, or remove it",
        ),
        (
            "[rules]\nblock = [\"ads..example\"]",
            "taciturn.toml:2: `ads..example` has an empty label; expected a domain name such as \
             \"ads.example.com\", with * for parts of a label",
        ),
        (
            "[rules]\nblock = [\"ads.*\"]",
            "taciturn.toml:2: `ads.*` needs at least a literal last label; expected a domain name such as \
             \"ads.example.com\", with * for parts of a label",
        ),
        (
            "\n[[list]]\nname = \"a\"",
            "taciturn.toml:2: list `a` needs the key file or url",
        ),
        (
            "[[list]]\nname = \"a\"\nfile = \"x\"\nurl = \"https://example.org/\"",
            "taciturn.toml:1: list `a` has both file and url; keep one",
        ),
        (
            "[[list]]\nname = \"a\"\nurl = \"ftp://example.org/\"",
            "taciturn.toml:3: `ftp://example.org/` is neither http nor https; expected an address such as \
             \"https://example.org/list.txt\"",
        ),
        (
            "[[list]]\nname = \"a\"\nfile = \"x\"\n[[list]]\nname = \"a\"\nfile = \"y\"",
            "taciturn.toml:4: two lists are called `a`; rename one",
        ),
        (
            "[[list]]\nname = \"a\"\nfile = \"x\"\nformat = \"host\"",
            "taciturn.toml:1: list `a` has the unknown format `host`; did you mean `hosts`? expected one of rpz, \
             adblock, hosts, wildcard, regex, domains",
        ),
        (
            "[[device]]\nname = \"a\"",
            "taciturn.toml:1: device `a` needs the key addresses or label, to be known by",
        ),
        (
            "[[device]]\nname = \"a\"\nlabel = \"a b\"",
            "taciturn.toml:3: `a b` is no label of a host name; expected letters, digits and hyphens such as \
             \"annes-redmi-x7k2m9\", 63 at most",
        ),
        (
            "[[device]]\nname = \"a\"\nlabel = \"x\"\n[[device]]\nname = \"b\"\nlabel = \"X\"",
            "taciturn.toml:4: devices `a` and `b` both have the label x; remove one",
        ),
        (
            "[listen]\ntls = [\"127.0.0.1:8853\"]",
            "taciturn.toml: [listen] tls, https and quic need [tls] hostname, the name that clients ask for",
        ),
        (
            "[listen]\ntls = [\"127.0.0.1:8853\"]\n[tls]\nhostname = \"dns.test\"",
            "taciturn.toml: [listen] tls, https and quic need [tls] certificate and key, or self_signed = true to try \
             things out",
        ),
        (
            "[tls]\nkey = \"key.pem\"",
            "taciturn.toml: [tls] certificate and key belong together; name both, or neither",
        ),
        (
            "[tls]\nhostname = \"dns\"",
            "taciturn.toml:2: `dns` is no host name; expected a host name such as \"dns.example.org\"",
        ),
        (
            "[listen]\ntls = [\"127.0.0.1:8853\"]\n[tls]\nhostname = \"dns.test\"\n\
             certificate = \"/nowhere/chain.pem\"\nkey = \"/nowhere/key.pem\"",
            "/nowhere/chain.pem: cannot be read: No such file or directory (os error 2)",
        ),
        (
            "[[device]]\nname = \"a\"\naddresses = [\"10.0.0.300\"]",
            "taciturn.toml:3: `10.0.0.300` is neither; expected an address or network such as \"192.168.1.23\" or \
             \"192.168.1.0/24\"",
        ),
        (
            "[[device]]\nname = \"a\"\naddresses = [\"10.0.0.3\"]\n[[device]]\nname = \"b\"\naddresses = [\"10.0.0.3\"]",
            "taciturn.toml:4: devices `a` and `b` both have the address 10.0.0.3/32; remove one",
        ),
        (
            "[local]\n\"nas.lan\" = \"not an address\"",
            "taciturn.toml:2: `not an address` is neither an address nor a name; expected an address, a list of \
             addresses, or another name",
        ),
        (
            "[cache]\nmin_ttl = \"2d\"",
            "taciturn.toml: [cache] min_ttl is longer than max_ttl; make it shorter",
        ),
        (
            "[web]\nlisten = [\"127.0.0.1:5300\"]",
            "taciturn.toml: [listen] dns and [web] listen both name 127.0.0.1:5300; give one of them another port",
        ),
        (
            "[upstream]\nca_file = \"/nonexistent.pem\"",
            "[upstream] ca_file /nonexistent.pem: I/O error: No such file or directory (os error 2)",
        ),
    ] {
        let (good, said) = check(text);
        assert!(!good, "{text} was taken");
        assert_eq!(said, message, "for:\n{text}");
    }
}

#[test]
fn a_syntax_error_names_its_line() {
    let (good, said) = check("[listen]\ndns = [\"127.0.0.1:5300\"\n\n[web]\n");
    assert!(!good);
    assert!(said.starts_with("taciturn.toml:"), "{said}");
}

#[test]
fn the_example_loads_and_says_the_defaults() {
    let output = command()
        .args(["config", "example"])
        .output()
        .expect("the CLI");
    let example = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(check(&example), (true, String::new()));
    let parse = |text: &str| taciturn::config::parse(text, "taciturn.toml".as_ref()).expect("good");
    let (example_config, defaults) = (parse(&example), parse(""));
    // The example spells out policies that the defaults leave to the categories themselves.
    let without_policy = |mut config: taciturn::config::Config| {
        config.policy = Default::default();
        format!("{config:?}")
    };
    assert_eq!(
        without_policy(example_config.clone()),
        without_policy(defaults)
    );
    let categories = taciturn::policy::Category::ALL.iter();
    for category in categories.filter(|c| **c != taciturn::policy::Category::MustResolve) {
        let said = example_config.policy.categories.get(category);
        assert_eq!(said, Some(&category.default_action()), "{category}");
    }
    // What is commented out has to load as well.
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || is_setting(rest) => rest,
            _ => line,
        })
        .filter(|line| {
            !line.starts_with("# file")
                && !line.contains("ca_file")
                && !line.contains("trust_anchor")
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let full = parse(&uncommented);
    assert_eq!(
        (
            full.list.len(),
            full.device.len(),
            full.local.len(),
            full.forward.len()
        ),
        (1, 1, 3, 1)
    );
}

/// Whether a line reads `key = value`, and is no prose.
fn is_setting(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| !key.contains(' '))
}

#[test]
fn a_missing_file_and_an_occupied_port_are_told() {
    let output = command()
        .args(["--config", "/nonexistent/t.toml"])
        .output()
        .expect("the CLI");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("/nonexistent/t.toml: cannot be read"),
        "{said}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let text =
        format!("data = \"d\"\n[listen]\ndns = [\"127.0.0.1:{port}\"]\n[web]\nlisten = []\n");
    let path = write(folder.path(), "taciturn.toml", &text);
    let output = command()
        .args(["--config", &path])
        .output()
        .expect("the CLI");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!(
            "cannot listen on 127.0.0.1:{port} (UDP): another program has the port"
        )),
        "{said}"
    );
}
