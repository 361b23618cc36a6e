//! Lists of the owner's own: every format, and servers that are dead, lie, or never stop sending.

use crate::common::process::write;
use crate::common::web::{self, ListServer, Serve};
use crate::common::{Taciturn, Upstream, ask, eventually};

fn blocked(server: &Taciturn, name: &str) -> bool {
    ask(server.dns, name, "A").data() == ["0.0.0.0"]
}

#[test]
fn every_format_from_a_file() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = String::new();
    for (name, text) in [
        ("domains", "domains.example\njunk line\n"),
        ("hosts", "0.0.0.0 hosts.example\n127.0.0.1 localhost\n"),
        ("adblock", "||adblock.example^\n@@||ok.adblock.example^\n"),
        ("wildcard", "*.wildcard.example\n"),
        ("regex", "/^regex[0-9]+\\.example$/\n"),
        (
            "rpz",
            "$TTL 60\nrpz.example CNAME .\n*.below.example CNAME .\n",
        ),
    ] {
        let path = write(folder.path(), name, text);
        config += &format!("[[list]]\nname = \"{name}\"\nfile = \"{path}\"\n");
    }
    let server = Taciturn::start(upstream.address, &config);
    for (name, expected) in [
        ("domains.example", true),
        ("x.domains.example", true),
        ("hosts.example", true),
        ("x.hosts.example", false),
        ("a.adblock.example", true),
        ("a.ok.adblock.example", false),
        ("a.wildcard.example", true),
        ("regex12.example", true),
        ("regexp.example", false),
        ("rpz.example", true),
        ("x.rpz.example", false),
        ("below.example", false),
        ("x.below.example", true),
    ] {
        assert_eq!(blocked(&server, name), expected, "{name}");
    }
    let lists = web::json(server.web, "/api/v1/lists");
    for list in lists.as_array().expect("lists") {
        let name = list["name"].as_str().expect("a name");
        if !["rules", "catalogue"].contains(&name) {
            assert_eq!(list["format"], name);
        }
    }
    let shown = server.cli(&["lists", "--junk"]);
    assert!(
        shown.contains("domains:2: junk line (has a character that a name cannot have)"),
        "{shown}"
    );
}

#[test]
fn a_url_list_is_fetched_refreshed_and_kept() {
    let upstream = Upstream::start();
    let lists = ListServer::start(Serve::Text("one.example\n".to_owned()));
    let config = format!("[[list]]\nname = \"web\"\nurl = \"{}\"", lists.url());
    let mut server = Taciturn::start(upstream.address, &config);
    eventually("the first download", || blocked(&server, "one.example"));
    let update = || {
        let (status, _) = web::request(
            server.web,
            "POST",
            "/api/v1/lists/update",
            &[("Host", "localhost"), ("X-Taciturn", "test")],
        )
        .expect("a response");
        assert_eq!(status, 202);
    };
    update();
    eventually("a conditional request", || lists.statuses() == [200, 304]);
    lists.set(Serve::Text("two.example\nthree.example\n".to_owned()));
    update();
    eventually("the new list", || {
        blocked(&server, "two.example") && !blocked(&server, "one.example")
    });
    // From here on the server misbehaves, and the last good copy stays.
    for (serve, why) in [
        (Serve::Status(500), "500"),
        (Serve::Close, ""),
        (
            Serve::Text("<html><body>Sign in to the Wi-Fi</body></html>".to_owned()),
            "web page",
        ),
        (
            Serve::Text("no list at all, just prose\nand more of it\n".to_owned()),
            "no rule",
        ),
        (
            Serve::Text("a.example\n? ?\n! !! x\n$$ $$\n= =\n".to_owned()),
            "most of its lines",
        ),
    ] {
        lists.set(serve);
        update();
        eventually(&format!("word of `{why}`"), || {
            let status = web::json(server.web, "/api/v1/lists");
            let error = status[1]["error"].as_str().unwrap_or_default().to_owned();
            error.contains(why) && error.contains("last good copy")
        });
        assert!(blocked(&server, "two.example"));
    }
    // A dead server at the start is survived as well.
    server.kill();
    lists.set(Serve::Close);
    server.run();
    assert!(blocked(&server, "three.example"));
    let offline = server.cli(&["lists"]);
    assert!(offline.contains("web"), "{offline}");
}

#[test]
fn an_endless_list_is_cut_off() {
    let upstream = Upstream::start();
    let lists = ListServer::start(Serve::Zeros(50 << 20));
    let config = format!(
        "[lists]\nmax_size = \"1 MiB\"\n[[list]]\nname = \"huge\"\nurl = \"{}\"",
        lists.url()
    );
    let server = Taciturn::start(upstream.address, &config);
    eventually("word of the limit", || {
        let status = web::json(server.web, "/api/v1/lists");
        status[1]["error"]
            .as_str()
            .is_some_and(|error| error.contains("larger than the 1048576 bytes"))
    });
    assert!(blocked(&server, "tracking.miui.com"));
}

#[test]
fn the_command_line_updates_a_running_server() {
    let upstream = Upstream::start();
    let lists = ListServer::start(Serve::Text("one.example\n".to_owned()));
    let config = format!("[[list]]\nname = \"web\"\nurl = \"{}\"", lists.url());
    let server = Taciturn::start(upstream.address, &config);
    eventually("the first download", || blocked(&server, "one.example"));
    lists.set(Serve::Text("two.example\n# longer\n".to_owned()));
    let said = server.cli(&["lists", "update"]);
    assert_eq!(
        said,
        "web: new, 1 rules\nthe running server takes them up\n"
    );
    eventually("the new list", || blocked(&server, "two.example"));
    lists.set(Serve::Status(404));
    let failed = server
        .command()
        .args(["lists", "update"])
        .output()
        .expect("the CLI");
    assert!(!failed.status.success());
    let said = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(
        said.starts_with("web: not renewed: the server answered 404"),
        "{said}"
    );
}

#[test]
fn a_broken_file_keeps_its_last_good_copy() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "list", "one.example\n");
    let config = format!("[[list]]\nname = \"mine\"\nfile = \"{path}\"");
    let server = Taciturn::start(upstream.address, &config);
    assert!(blocked(&server, "one.example"));
    write(folder.path(), "list", "two.example\n");
    eventually("the file watch", || blocked(&server, "two.example"));
    write(folder.path(), "list", "<html>oops</html>\n");
    eventually("word of the mistake", || {
        let status = web::json(server.web, "/api/v1/lists");
        status[1]["error"] == "it is a web page, not a list; its last good copy is used"
    });
    assert!(blocked(&server, "two.example"));
}

fn many_names(count: usize) -> String {
    (0..count)
        .map(|n| format!("host{n}.many{}.example\n", n % 100))
        .collect()
}

#[test]
fn long_lists_are_compiled_once_and_again_when_they_change_or_break() {
    use std::os::unix::fs::MetadataExt;
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "many", &many_names(12_000));
    let config = format!("[[list]]\nname = \"many\"\nfile = \"{path}\"\n");
    let mut server = Taciturn::start(upstream.address, &config);
    let compiled = server.data().join("lists/compiled");
    let made = || {
        let of = std::fs::metadata(&compiled).expect("the compiled lists");
        (of.ino(), of.mtime_nsec())
    };
    assert!(blocked(&server, "x.host7.many7.example"));
    let first = made();
    server.stop();
    server.run();
    assert!(blocked(&server, "x.host7.many7.example"));
    assert_eq!(made(), first, "nothing changed, and it was used again");

    write(folder.path(), "many", &many_names(12_001));
    server.reload();
    assert!(blocked(&server, "host12000.many0.example"));
    let second = made();
    assert_ne!(second, first);
    server.stop();

    let mut bytes = std::fs::read(&compiled).expect("the compiled lists");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&compiled, bytes).expect("to write");
    server.run();
    assert!(blocked(&server, "host12000.many0.example"));
    assert_ne!(made(), second, "a damaged file is made anew");
}

/// The bound: while lists are read again, no more than half as much memory on top.
#[test]
fn reading_long_lists_again_takes_little_memory() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), "many", &many_names(300_000));
    let config = format!("[[list]]\nname = \"many\"\nfile = \"{path}\"\n");
    let server = Taciturn::start(upstream.address, &config);
    let process = format!("/proc/{}", server.pid());
    let kilobytes = |label: &str| -> u64 {
        let status = std::fs::read_to_string(format!("{process}/status")).expect("its status");
        let line = status.lines().find(|line| line.starts_with(label));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|n| n.parse().ok()).expect("a number")
    };
    assert!(blocked(&server, "host5.many5.example"));
    let steady = kilobytes("VmRSS");
    // The peak starts anew from here.
    std::fs::write(format!("{process}/clear_refs"), "5").expect("to reset the peak");
    write(folder.path(), "many", &many_names(300_001));
    server.reload();
    assert!(blocked(&server, "host300000.many0.example"));
    let peak = kilobytes("VmHWM");
    assert!(
        peak * 2 < steady * 3,
        "{steady} kB before, {peak} kB at the peak"
    );
}
