//! Servers as processes on a core of their own, and what they use.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The core of the server under test, and the one for everything else.
pub const SERVER_CORE: &str = "0";
pub const LOAD_CORE: &str = "1";

/// A process that ends with its value.
pub struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time in seconds and memory in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub cpu: f64,
    pub rss: u64,
}

impl Running {
    /// Starts a program on a core; what it says goes to `log`.
    pub fn start(
        core: &str,
        program: &str,
        arguments: &[String],
        log: &Path,
    ) -> std::io::Result<Self> {
        let log = std::fs::File::create(log)?;
        let child = Command::new("taskset")
            .args(["-c", core, program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child })
    }

    /// Whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it and the processes it started have used so far.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        let mut processes = vec![self.child.id()];
        while let Some(pid) = processes.pop() {
            let used = usage_of(pid);
            sum.cpu += used.cpu;
            sum.rss += used.rss;
            let children = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            processes.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
        sum
    }
}

fn usage_of(pid: u32) -> Usage {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after_name
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    let ticks = fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| {
            line.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        });
    Usage {
        // Linux counts in hundredths of a second, whatever the kernel's own tick.
        cpu: ticks / 100.0,
        rss: rss.unwrap_or(0) * 1024,
    }
}

/// Asks until an answer comes; `None` when none came in time.
pub fn first_answer(
    process: &mut Running,
    address: SocketAddr,
    query: &[u8],
    patience: Duration,
) -> Option<(Duration, Vec<u8>)> {
    let start = Instant::now();
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    socket.connect(address).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .ok()?;
    let mut buffer = [0; 4096];
    while start.elapsed() < patience && process.is_alive() {
        let _ = socket.send(query);
        match socket.recv(&mut buffer) {
            // SERVFAIL and REFUSED mean that it is not ready yet.
            Ok(len) if len >= 12 && matches!(buffer[3] & 0x0f, 0 | 3) => {
                return Some((start.elapsed(), buffer[..len].to_vec()));
            }
            Ok(_) => std::thread::sleep(Duration::from_millis(5)),
            // A closed port answers at once.
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    None
}

/// Where a program is, also in the folders that root's path has.
pub fn find(program: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"])
        .map(|folder| format!("{folder}/{program}"))
        .find(|file| Path::new(file).is_file())
}
