//! Pure functions on message bytes (RFC 1035 section 4).
//!
//! Nothing here allocates per query, locks, or knows a list: [`Query::parse`] reads a question in place,
//! [`reply`] writes an answer into a caller's buffer, [`records`] walks a response to find what has to be
//! patched when it is served again.

pub mod cookie;
pub mod name;
pub mod query;
pub mod records;
pub mod reply;

pub use name::{Name, NameError};
pub use query::{Edns, Query};

/// Length of a DNS header in bytes (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;

/// The largest message that TCP's two length bytes can carry (RFC 1035 section 4.2.2).
pub const MAX_MESSAGE: usize = 65_535;

/// Resource record types that decisions depend on, by number.
pub mod rtype {
    /// IPv4 address (RFC 1035).
    pub const A: u16 = 1;
    /// Canonical name (RFC 1035).
    pub const CNAME: u16 = 5;
    /// Start of authority (RFC 1035).
    pub const SOA: u16 = 6;
    /// Reverse name (RFC 1035).
    pub const PTR: u16 = 12;
    /// Host information; the answer to ANY (RFC 8482).
    pub const HINFO: u16 = 13;
    /// Text (RFC 1035).
    pub const TXT: u16 = 16;
    /// IPv6 address (RFC 3596).
    pub const AAAA: u16 = 28;
    /// Non-terminal redirection (RFC 6672).
    pub const DNAME: u16 = 39;
    /// EDNS pseudo record (RFC 6891).
    pub const OPT: u16 = 41;
    /// Service binding (RFC 9460).
    pub const SVCB: u16 = 64;
    /// Service binding for HTTPS (RFC 9460).
    pub const HTTPS: u16 = 65;
    /// Incremental transfer (RFC 1995).
    pub const IXFR: u16 = 251;
    /// Zone transfer (RFC 5936).
    pub const AXFR: u16 = 252;
    /// All records (RFC 8482 for how to answer it).
    pub const ANY: u16 = 255;
}

/// The Internet class.
pub const CLASS_IN: u16 = 1;

/// Response codes that taciturn gives itself (RFC 1035 section 4.1.1, RFC 6891 section 9).
pub mod rcode {
    /// No error.
    pub const NOERROR: u8 = 0;
    /// The query could not be read.
    pub const FORMERR: u8 = 1;
    /// The resolver could not find an answer.
    pub const SERVFAIL: u8 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u8 = 3;
    /// The kind of query is not supported.
    pub const NOTIMP: u8 = 4;
    /// Refused by policy.
    pub const REFUSED: u8 = 5;
}

pub(crate) fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        message.get(at..at + 2)?.try_into().ok()?,
    ))
}

pub(crate) fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        message.get(at..at + 4)?.try_into().ok()?,
    ))
}
