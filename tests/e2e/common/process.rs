//! The real binary, started with a configuration in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client;
use super::web;

/// A port that is free for UDP and TCP.
pub fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A running taciturn; killed when dropped.
pub struct Taciturn {
    pub dns: SocketAddr,
    pub web: SocketAddr,
    pub folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Taciturn {
    /// Starts with one upstream and these further lines of configuration, and waits until it answers.
    /// Lines before the first section belong to the top of the file.
    pub fn start(upstream: SocketAddr, more: &str) -> Self {
        let mut prepared = Self::prepare(upstream, more);
        prepared.run();
        prepared
    }

    /// Writes the configuration without starting.
    pub fn prepare(upstream: SocketAddr, more: &str) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let prepared = Self {
            dns: local(free_port()),
            web: local(free_port()),
            folder: tempfile::tempdir().expect("a folder"),
            process: None,
        };
        prepared.configure(upstream, more);
        prepared
    }

    /// Writes the configuration. `[upstream]`, `[listen]` and `[web]` can be continued in `more` by keys
    /// that stand before its first section, prefixed with the section's name.
    pub fn configure(&self, upstream: SocketAddr, more: &str) {
        let servers = format!("servers = [\"udp://{upstream}\"]");
        self.configure_raw(&servers, more);
    }

    /// Like [`configure`](Self::configure), with the text of `[upstream]` given.
    pub fn configure_raw(&self, upstream: &str, more: &str) {
        let (dns, web) = (self.dns, self.web);
        let more = more.trim_start();
        let listen_more = section(more, "listen.");
        let upstream_more = section(more, "upstream.");
        let rest: String = more
            .lines()
            .filter(|line| {
                !line.trim().starts_with("listen.") && !line.trim().starts_with("upstream.")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let text = format!(
            "data = \"data\"\n\n[listen]\ndns = [\"{dns}\"]\nudp_sockets = 2\n{listen_more}\n\
             [web]\nlisten = [\"{web}\"]\n\n[upstream]\nbootstrap = []\n{upstream}\n{upstream_more}\n{rest}"
        );
        // Beside and renamed, as editors do, so that a reload never sees half a file.
        let new = self.folder.path().join("taciturn.toml.new");
        std::fs::write(&new, text).expect("to write");
        std::fs::rename(&new, self.config()).expect("to rename");
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("taciturn.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The binary with `--config`.
    pub fn command(&self) -> Command {
        let mut command = command();
        command.arg("--config").arg(self.config());
        command
    }

    /// Starts and waits until it answers.
    pub fn run(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Starts without waiting.
    pub fn spawn(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log");
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(command.spawn().expect("taciturn to start"));
    }

    pub fn wait_until_ready(&mut self) {
        let start = Instant::now();
        let probe = client::query(1, "localhost", "A");
        loop {
            let answered = client::raw(self.dns, &probe, Duration::from_millis(100)).is_some();
            if answered && web::get(self.web, "/health").is_ok() {
                return;
            }
            if let Some(process) = &mut self.process
                && let Ok(Some(status)) = process.try_wait()
            {
                panic!("taciturn ended with {status}:\n{}", self.log());
            }
            let waited = start.elapsed();
            assert!(
                waited.as_secs() < 20,
                "taciturn is not ready:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a process").id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        let mut process = self.process.take()?;
        process.wait().ok()?.code()
    }

    /// Reloads by SIGHUP and waits until the server says that it did, or that it refused.
    pub fn reload(&self) {
        let count = |log: &str| {
            log.matches("configuration was read again").count()
                + log.matches("the running configuration is kept").count()
        };
        let before = count(&self.log());
        self.signal("HUP");
        super::eventually("a reload", || count(&self.log()) > before);
    }

    /// Runs a command of the CLI with this configuration; returns what it printed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().expect("the CLI");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Keys for one of the sections that the harness writes.
fn section(more: &str, prefix: &str) -> String {
    let keys = more
        .lines()
        .filter_map(|line| line.trim().strip_prefix(prefix));
    keys.map(|key| format!("{key}\n")).collect()
}

impl Drop for Taciturn {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("taciturn's log:\n{}", self.log());
        }
    }
}

/// The binary, cut off from the configuration and data of whoever runs the tests.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taciturn"));
    command
        .env_remove("TACITURN_CONFIG")
        .env_remove("TACITURN_LOG");
    command.env("TZ", "UTC");
    command
}

/// Writes a file and returns its path as text for a configuration.
pub fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("to write");
    path.display().to_string()
}
