//! What the end-to-end tests share: an upstream in this process, the real binary, and a client.
//!
//! Everything binds port 0 or a port that was free a moment ago on 127.0.0.1, lives in a temporary folder,
//! and ends with the test.

pub mod client;
pub mod process;
pub mod tls;
pub mod upstream;
pub mod web;

pub use client::{ask, ask_tcp};
pub use process::Taciturn;
pub use upstream::Upstream;

/// Whether a program that only some machines have is here. Where the environment says that a skip is a
/// failure (`.ci/run` does), a missing one fails the test.
pub fn have(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    });
    if !found {
        let must = std::env::var_os("TACITURN_NO_SKIP").is_some();
        assert!(!must, "{program} is missing and TACITURN_NO_SKIP is set");
        eprintln!("skipped: needs {program}");
    }
    found
}

/// Waits until `what` holds, for at most ten seconds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < 10, "never came true: {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
