//! What only the system's own calls can do, behind safe interfaces: the one place with unsafe code.
//!
//! [`datagrams`] moves many datagrams with one call. Nothing in here knows DNS.

#[cfg(target_os = "linux")]
pub mod datagrams;
