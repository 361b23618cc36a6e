//! One file per promise to the user; each drives the real binary over real sockets.

mod block;
mod cache;
mod cli;
mod cloak;
mod common;
mod config;
mod dnssec;
mod judges;
mod lists;
mod private_dns;
mod record;
mod reload;
mod transport;
mod upstream;
mod ways;
