//! What only the system's own calls can do, behind safe interfaces: the one place with unsafe code.
//!
//! [`datagrams`] moves many datagrams with one call, [`mapped`] makes a file memory, [`prefetch`] has memory
//! ready when it is needed. Nothing in here knows DNS.

#[cfg(target_os = "linux")]
pub mod datagrams;
pub mod mapped;
pub mod prefetch;
