//! taciturn, "says little": a DNS resolver that answers everything but what phones tell their makers.
//!
//! # The way of a query
//!
//! A query walks through these rooms from top to bottom and back once. Imports run the same way; no room
//! reaches upward.
//!
//! 1. [`listen`]: sockets, TLS and HTTPS, framing, limits. Bytes in, bytes out; knows no lists.
//! 2. [`resolve`]: the one place where the stages meet. Its quick path answers from bytes without waiting,
//!    its general path waits for upstreams; both go through the same stages:
//!     1. [`device`]: who asks, by address or by the host name that is a device's alone.
//!     2. [`policy`]: what to do with the name, as a plain value, by pure code. The rules come from
//!        [`lists`]: the catalogue in the binary, files, URLs.
//!     3. [`answer`]: blocked names, local records, special-use names.
//!     4. [`cache`]: answers as wire bytes, counted down and patched.
//!     5. [`upstream`]: everything else, carried by hickory-resolver's connections. The answer is then
//!        looked into for names and addresses that hide in it.
//! 3. [`record`]: counts and the log of matched lookups, written by a thread of its own.
//!
//! # Around it
//!
//! * [`wire`]: pure functions on message bytes, used by all of them.
//! * [`certificate`]: what the encrypted listeners prove their name with.
//! * [`sys`]: what only system calls can do, behind safe interfaces; the one place with unsafe code.
//! * [`files`]: files that are nobody else's business, replaced as a whole.
//! * [`config`]: `taciturn.toml` and the registry of devices -> checked values.
//! * [`server`]: puts it all together, reloads, renews lists, stops.
//! * [`web`]: API and metrics over HTTP.
//! * [`cli`]: one file per command.

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod answer;
pub mod cache;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod device;
pub mod files;
pub mod listen;
pub mod lists;
pub mod policy;
pub mod record;
pub mod resolve;
pub mod server;
#[allow(unsafe_code)]
pub mod sys;
pub mod upstream;
pub mod web;
pub mod wire;
