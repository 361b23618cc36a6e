//! What was counted is what was asked, whatever happens to the process or the disk.

use std::time::Duration;

use crate::common::{Taciturn, Upstream, ask, eventually, web};

/// Blocked, recorded and allowed lookups in the counts, summed over everything.
fn sums(server: &Taciturn) -> [u64; 3] {
    let rows = web::json(server.web, "/api/v1/counts?by=device&since=2h");
    let sum = |key: &str| {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row[key].as_u64().unwrap_or(0)).sum()
    };
    [sum("blocked"), sum("recorded"), sum("allowed")]
}

#[test]
fn counts_equal_the_queries_asked() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    for n in 0..120 {
        ask(server.dns, "tracking.miui.com", "A");
        if n % 2 == 0 {
            ask(server.dns, "cloudconf-app-be.heytapmobile.com", "A");
        }
        if n % 3 == 0 {
            ask(server.dns, &format!("www{n}.example"), "A");
        }
    }
    eventually("the counts", || sums(&server) == [120, 60, 40]);
    let stats = |by: &str| server.cli(&["stats", "--by", by, "--csv"]);
    assert!(stats("vendor").contains("\"xiaomi\",120,0,0\n\"oppo+oneplus\",0,60,0\n"));
    assert!(stats("category").contains("\"telemetry\",120,0,0\n\"config\",0,60,0\n"));
    assert!(stats("domain").contains("\"tracking.miui.com\",120,0,0"));
    assert!(stats("device").contains("\"127.0.0.1\",120,60,0"));
    assert!(stats("list").contains("\"catalogue\",120,60,0"));
    assert!(stats("entry").contains("\"cloudconf-app-*.heytapmobile.com\",0,60,0"));
    let hours = stats("hour");
    let total: u64 = hours
        .lines()
        .skip(1)
        .filter_map(|l| l.split(',').nth(1)?.parse::<u64>().ok())
        .sum();
    assert_eq!(total, 120, "{hours}");
    let table = server.cli(&["stats"]);
    assert!(table.starts_with("vendor"), "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&server.cli(&["stats", "--json", "--vendor", "xiaomi"]))
            .expect("JSON");
    assert_eq!(json[0]["blocked"], 120);
}

#[test]
fn the_log_holds_matched_lookups_and_no_browsing() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    ask(server.dns, "private-matter.example", "A");
    ask(server.dns, "tracking.miui.com", "AAAA");
    ask(server.dns, "brand-new.heytapmobile.com", "A");
    eventually("two rows", || {
        web::json(server.web, "/api/v1/log")
            .as_array()
            .map(Vec::len)
            == Some(2)
    });
    let log = web::json(server.web, "/api/v1/log");
    assert_eq!(log[0]["name"], "tracking.miui.com");
    assert_eq!(log[0]["qtype"], "AAAA");
    assert_eq!(log[0]["action"], "block");
    assert_eq!(log[0]["vendor"], "xiaomi");
    assert_eq!(log[1]["category"], "unclassified");
    let new = server.cli(&[
        "stats",
        "--by",
        "domain",
        "--category",
        "unclassified",
        "--csv",
    ]);
    assert!(
        new.ends_with("\n\"brand-new.heytapmobile.com\",0,1,0\n"),
        "{new}"
    );
    let database = std::fs::read(server.data().join("taciturn.sqlite-wal")).expect("the log");
    let holds = |what: &[u8]| database.windows(what.len()).any(|window| window == what);
    assert!(holds(b"tracking.miui.com") && !holds(b"private-matter"));
    let shown = server.cli(&["log", "-n", "1"]);
    assert!(
        shown.contains("record  127.0.0.1") && shown.contains("brand-new.heytapmobile.com"),
        "{shown}"
    );
}

#[test]
fn everything_is_logged_only_when_asked_for() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "[record]\nlog = \"all\"");
    ask(server.dns, "private-matter.example", "A");
    eventually("the row", || {
        let log = web::json(server.web, "/api/v1/log");
        log[0]["name"] == "private-matter.example" && log[0]["action"] == "allow"
    });
    assert_eq!(sums(&server), [0, 0, 1]);
}

#[test]
fn following_the_log() {
    use std::io::{BufRead, BufReader};
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    ask(server.dns, "tracking.miui.com", "A");
    eventually("a row", || sums(&server)[0] == 1);
    let mut follow = server
        .command()
        .args(["log", "--follow", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the CLI");
    let mut lines = BufReader::new(follow.stdout.take().expect("output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("tracking.miui.com"));
    ask(server.dns, "data.mistat.xiaomi.com", "A");
    assert!(next().contains("data.mistat.xiaomi.com"));
    follow.kill().expect("to end it");
    follow.wait().expect("to end it");
}

#[test]
fn kill_9_loses_at_most_the_last_second() {
    let upstream = Upstream::start();
    let mut server = Taciturn::start(upstream.address, "");
    for _ in 0..200 {
        ask(server.dns, "tracking.miui.com", "A");
    }
    std::thread::sleep(Duration::from_millis(1000));
    for _ in 0..50 {
        ask(server.dns, "tracking.miui.com", "A");
    }
    server.kill();
    server.run();
    ask(server.dns, "data.mistat.xiaomi.com", "A");
    eventually("the counts of before", || {
        let [blocked, ..] = sums(&server);
        (201..=251).contains(&blocked)
    });
    let check = std::process::Command::new("sqlite3")
        .arg("--version")
        .output();
    if check.is_ok() {
        let file = server.data().join("taciturn.sqlite");
        let output = std::process::Command::new("sqlite3")
            .arg(file)
            .arg("PRAGMA integrity_check")
            .output()
            .expect("sqlite3");
        assert_eq!(output.stdout, b"ok\n");
    }
}

#[test]
fn a_clean_stop_loses_nothing() {
    let upstream = Upstream::start();
    let mut server = Taciturn::start(upstream.address, "");
    for _ in 0..100 {
        ask(server.dns, "tracking.miui.com", "A");
    }
    assert_eq!(server.stop(), Some(0));
    let stats = server.cli(&["stats", "--csv"]);
    assert!(stats.contains("\"xiaomi\",100,0,0"), "{stats}");
}

#[test]
fn a_folder_that_cannot_be_written_does_not_stop_resolution() {
    let upstream = Upstream::start();
    let mut server = Taciturn::prepare(upstream.address, "");
    std::fs::write(server.data(), "in the way").expect("to write");
    server.run();
    for _ in 0..30 {
        assert_eq!(
            ask(server.dns, "tracking.miui.com", "A").data(),
            ["0.0.0.0"]
        );
    }
    eventually("the health check to say so", || {
        let (status, body) = web::get(server.web, "/health").expect("a response");
        status == 503 && body.contains("counts cannot be written")
    });
    // Mended while it runs: what was counted meanwhile is there.
    std::fs::remove_file(server.data()).expect("to remove");
    eventually("the counts", || {
        web::get(server.web, "/health").expect("a response").0 == 200 && sums(&server)[0] == 30
    });
}

#[test]
fn a_full_disk_does_not_stop_resolution() {
    let upstream = Upstream::start();
    let mut server = Taciturn::prepare(upstream.address, "");
    std::fs::create_dir(server.data()).expect("a folder");
    let mount = |arguments: &[&str]| {
        let output = std::process::Command::new("mount")
            .args(arguments)
            .arg(server.data())
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"]) {
        eprintln!("skipped: needs the right to mount a small file system");
        return;
    }
    server.run();
    let filler = server.data().join("filler");
    ask(server.dns, "tracking.miui.com", "A");
    eventually("the first count", || sums(&server)[0] == 1);
    // Takes all that is left.
    let _ = std::fs::write(&filler, vec![0; 1 << 20]);
    for n in 0..300 {
        let name = format!("host{n}.tracking.miui.com");
        assert_eq!(ask(server.dns, &name, "A").data(), ["0.0.0.0"]);
    }
    eventually("the health check to say so", || {
        web::get(server.web, "/health").expect("a response").0 == 503
    });
    std::fs::remove_file(&filler).expect("to remove");
    eventually("the counts", || {
        web::get(server.web, "/health").expect("a response").0 == 200 && sums(&server)[0] == 301
    });
    server.kill();
    let unmounted = std::process::Command::new("umount")
        .arg(server.data())
        .status();
    assert!(unmounted.expect("umount").success());
}

#[test]
fn an_overflow_drops_details_and_counts_them() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "[record]\nqueue = 1");
    let dns = server.dns;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for n in 0..250 {
                    ask(dns, &format!("n{n}.tracking.miui.com"), "A");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("answers");
    }
    eventually("all of them in the counts", || sums(&server)[0] == 1000);
    let stats = server.cli(&["stats", "--by", "device", "--csv"]);
    assert!(stats.contains("\"(others)\","), "{stats}");
    let dropped = web::json(server.web, "/api/v1/status")["totals"]["dropped_blocked"].as_u64();
    assert!(dropped > Some(0));
}

#[test]
fn old_rows_are_forgotten() {
    let upstream = Upstream::start();
    let config = "[record]\nlog_retention = \"1s\"";
    let server = Taciturn::start(upstream.address, config);
    ask(server.dns, "tracking.miui.com", "A");
    eventually("the row", || {
        web::json(server.web, "/api/v1/log")
            .as_array()
            .map(Vec::len)
            == Some(1)
    });
    eventually("it to be forgotten", || {
        web::json(server.web, "/api/v1/log")
            .as_array()
            .map(Vec::len)
            == Some(0)
    });
    assert_eq!(sums(&server)[0], 1, "the count stays");
}
