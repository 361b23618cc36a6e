//! The commands besides the server.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::common::process::command;
use crate::common::{Taciturn, Upstream, ask, web};

fn run(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = command()
        .args(arguments)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the CLI");
    child
        .stdin
        .take()
        .expect("input")
        .write_all(input.as_bytes())
        .expect("to write");
    let output = child.wait_with_output().expect("output");
    (
        output.status.code(),
        String::from_utf8(output.stdout).expect("UTF-8"),
    )
}

#[test]
fn check_reads_names_from_standard_input() {
    let input = "tracking.miui.com\n\nXIAOMI.com.\nwww.example\nbad..name\n";
    let (code, output) = run(&["check", "--json", "-"], input);
    assert_eq!(code, Some(1), "a name was bad");
    let lines: Vec<Value> = output
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["name"], "tracking.miui.com");
    assert_eq!(lines[0]["action"], "block");
    assert_eq!(lines[0]["rule"], "tracking.miui.com");
    assert_eq!(lines[0]["list"], "catalogue");
    assert_eq!(lines[0]["vendor"], "xiaomi");
    assert_eq!(lines[0]["category"], "telemetry");
    assert_eq!(
        (&lines[1]["name"], &lines[1]["action"]),
        (&"xiaomi.com".into(), &"allow".into())
    );
    assert_eq!(lines[2]["action"], "allow");
    assert!(lines[2]["rule"].is_null());
    assert_eq!(lines[3]["error"], "has an empty label");
}

#[test]
fn check_says_why_in_words() {
    let (code, output) = run(&["check", "x.adv.sec.miui.com"], "");
    assert_eq!(code, Some(0));
    for expected in [
        "x.adv.sec.miui.com: block",
        "`adv.sec.miui.com` covers what lies below it, and the policy for ads is block; first of 3",
        "evidence",
        "breaks",
        "not       record by `sec.miui.com` of catalogue: it is less specific",
        "not       record by `miui.com` of catalogue: an entry outranks the zone it lies in",
    ] {
        assert!(output.contains(expected), "{expected} in:\n{output}");
    }
}

#[test]
fn the_server_the_api_and_the_command_line_agree() {
    let upstream = Upstream::start();
    let config = "
        [rules]
        block = [\"mine.example\"]
        [[device]]
        name = \"phone\"
        addresses = [\"127.0.0.1\"]
        [device.policy.categories]
        telemetry = \"record\"
        store = \"block\"
    ";
    let server = Taciturn::start(upstream.address, config);
    for name in [
        "tracking.miui.com",
        "ad.intl.xiaomi.com",
        "browser.coloros.com",
        "mine.example",
        "www.example",
        "xiaomi.com",
    ] {
        let by_api = web::json(
            server.web,
            &format!("/api/v1/verdict?name={name}&device=phone"),
        );
        let by_cli: Value =
            serde_json::from_str(&server.cli(&["check", "--json", "--device", "phone", name]))
                .expect("JSON");
        assert_eq!(by_api, by_cli, "{name}");
        let blocked = ask(server.dns, name, "A").data() == ["0.0.0.0"];
        assert_eq!(by_api["action"] == "block", blocked, "{name}");
    }
}

#[test]
fn the_catalogue_is_exported() {
    for (format, line) in [
        ("domains", "tracking.miui.com"),
        ("hosts", "0.0.0.0 data.mistat.intl.xiaomi.com"),
        ("adblock", "||mistat.*.xiaomi.com^"),
        ("rpz", "*.tracking.miui.com IN CNAME ."),
    ] {
        let (code, output) = run(&["lists", "export", "--format", format], "");
        assert_eq!(code, Some(0));
        assert!(
            output.lines().any(|found| found == line),
            "{line} in {format}"
        );
        assert!(!output.contains("connect.rom.miui.com"));
    }
    let (_, recorded) = run(
        &[
            "lists", "export", "--format", "domains", "--action", "record",
        ],
        "",
    );
    assert!(recorded.contains("cloudconf-app-be.heytapmobile.com"));
}

#[test]
fn completions_manual_and_help() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, output) = run(&["completions", shell], "");
        assert_eq!(code, Some(0));
        assert!(output.contains("taciturn"));
    }
    let (_, manual) = run(&["man"], "");
    assert!(manual.contains(".TH taciturn 1"), "{manual}");
    assert_eq!(
        run(&["--version"], "").1,
        format!("taciturn {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(run(&["nonsense"], "").0, Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{} lists export --format hosts | head -n 1 >/dev/null; echo ${{PIPESTATUS:-0}}",
            env!("CARGO_BIN_EXE_taciturn")
        ))
        .output()
        .expect("sh");
    assert!(
        status.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
}

#[test]
fn the_api_guards_itself() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let status = |method: &str, path: &str, headers: &[(&str, &str)]| {
        web::request(server.web, method, path, headers)
            .expect("a response")
            .0
    };
    let host = ("Host", "localhost");
    assert_eq!(status("GET", "/api/v1/status", &[host]), 200);
    assert_eq!(
        status("GET", "/api/v1/status", &[("Host", "evil.example")]),
        421
    );
    assert_eq!(status("POST", "/api/v1/reload", &[host]), 403);
    assert_eq!(
        status("POST", "/api/v1/reload", &[host, ("X-Taciturn", "1")]),
        202
    );
    assert_eq!(status("GET", "/api/v1/nothing", &[host]), 404);
    assert_eq!(status("GET", "/api/v1/counts?by=colour", &[host]), 400);
    assert_eq!(
        status("GET", "/api/v1/counts?since=yesterday", &[host]),
        400
    );
    assert_eq!(status("GET", "/api/v1/counts?sinse=1h", &[host]), 400);
    assert_eq!(status("GET", "/api/v1/verdict?name=a..b", &[host]), 400);
    assert_eq!(
        status("GET", "/api/v1/verdict?name=a.example&device=none", &[host]),
        404
    );
}

#[test]
fn metrics_say_what_happened() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    for _ in 0..3 {
        ask(server.dns, "tracking.miui.com", "A");
        ask(server.dns, "www.example", "A");
    }
    let (status, metrics) = web::get(server.web, "/metrics").expect("a response");
    assert_eq!(status, 200);
    for line in [
        "taciturn_blocked_total 3".to_owned(),
        "taciturn_cache_hits_total 2".to_owned(),
        "taciturn_cache_misses_total 1".to_owned(),
        format!(
            "taciturn_upstream_queries_total{{upstream=\"udp://{}\"}} 1",
            upstream.address
        ),
        "taciturn_list_junk_lines{list=\"catalogue\"} 0".to_owned(),
        "# EOF".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in:\n{metrics}"
        );
    }
}
