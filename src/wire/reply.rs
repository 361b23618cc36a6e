//! Writing an answer into a caller's buffer.
//!
//! Every function appends to a `Vec` that the caller keeps and clears, so that after the first few
//! queries nothing is allocated.

use std::net::IpAddr;
use std::time::Duration;

use super::{CLASS_IN, HEADER, MAX_MESSAGE, Query, rcode, records, rtype};

/// An Extended DNS Error (RFC 8914): why an answer is not the plain truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ede<'t> {
    /// The INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT; may be empty.
    pub text: &'t str,
}

/// INFO-CODE values that taciturn gives (RFC 8914 section 4).
pub mod ede {
    /// The answer is stale (RFC 8767).
    pub const STALE_ANSWER: u16 = 3;
    /// The answer was made up by policy.
    pub const FORGED_ANSWER: u16 = 4;
    /// DNSSEC validation failed.
    pub const DNSSEC_BOGUS: u16 = 6;
    /// A failure, answered from the cache (RFC 9520).
    pub const CACHED_ERROR: u16 = 13;
    /// Blocked by the resolver's operator.
    pub const BLOCKED: u16 = 15;
    /// Filtered as the client asked.
    pub const FILTERED: u16 = 17;
    /// The client may not ask.
    pub const PROHIBITED: u16 = 18;
    /// A stale denial of existence (RFC 8767).
    pub const STALE_NXDOMAIN: u16 = 19;
    /// No upstream could be reached.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// The upstream could not be talked to.
    pub const NETWORK_ERROR: u16 = 23;
}

/// The payload size that taciturn advertises, in bytes: what crosses the Internet without fragments
/// (RFC 9715).
pub const PAYLOAD: u16 = 1232;

/// How long the SOA in a negative answer of our own lets clients wait between refreshes, in seconds.
/// Only its MINIMUM field matters to a resolver (RFC 2308 section 4).
const SOA_TIMERS: [u32; 4] = [1, 3600, 600, 86_400];

/// Header flag bits of the third and fourth byte.
const QR: u8 = 0x80;
const AA: u8 = 0x04;
const TC: u8 = 0x02;
const RA: u8 = 0x80;

/// A reply under construction: header and question are written by [`Reply::new`], records follow in
/// the order of the sections, [`Reply::finish`] adds the OPT record.
pub struct Reply<'o, 'q> {
    out: &'o mut Vec<u8>,
    query: &'q Query<'q>,
}

impl<'o, 'q> Reply<'o, 'q> {
    /// Clears `out` and writes the header and the question, echoed byte for byte.
    #[inline]
    pub fn new(out: &'o mut Vec<u8>, query: &'q Query<'q>, rcode: u8) -> Self {
        out.clear();
        out.extend_from_slice(&query.id.to_be_bytes());
        let rd = u8::from(query.recursion_desired);
        let cd = if query.checking_disabled { 0x10 } else { 0 };
        out.extend_from_slice(&[QR | rd, RA | cd | rcode, 0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(query.question);
        Self { out, query }
    }

    /// Marks the answer as our own (AA).
    pub fn authoritative(self) -> Self {
        self.out[2] |= AA;
        self
    }

    /// Marks the answer as cut short (TC).
    pub fn truncated(self) -> Self {
        self.out[2] |= TC;
        self
    }

    fn count(&mut self, section: usize) {
        let at = 6 + 2 * section;
        let count = u16::from_be_bytes([self.out[at], self.out[at + 1]]) + 1;
        self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Adds an answer record whose owner is the question's name; `ttl` in seconds.
    pub fn answer(&mut self, record_type: u16, ttl: u32, data: &[u8]) {
        self.count(0);
        self.record_head(record_type, ttl, data.len());
        self.out.extend_from_slice(data);
    }

    /// Adds an address record for `address`; `ttl` in seconds.
    pub fn address(&mut self, address: IpAddr, ttl: u32) {
        match address {
            IpAddr::V4(v4) => self.answer(rtype::A, ttl, &v4.octets()),
            IpAddr::V6(v6) => self.answer(rtype::AAAA, ttl, &v6.octets()),
        }
    }

    /// Adds an authority SOA, owned by the question's name, so that clients cache a negative answer
    /// for `ttl` seconds (RFC 2308 section 5).
    pub fn soa(&mut self, ttl: u32) {
        const MNAME: &[u8] = b"\x08taciturn\x07invalid\x00";
        const RNAME: &[u8] = b"\x06nobody\x07invalid\x00";
        self.count(1);
        self.record_head(rtype::SOA, ttl, MNAME.len() + RNAME.len() + 20);
        self.out.extend_from_slice(MNAME);
        self.out.extend_from_slice(RNAME);
        for timer in SOA_TIMERS {
            self.out.extend_from_slice(&timer.to_be_bytes());
        }
        self.out.extend_from_slice(&ttl.to_be_bytes());
    }

    fn record_head(&mut self, record_type: u16, ttl: u32, length: usize) {
        self.out.extend_from_slice(&[0xc0, HEADER as u8]);
        self.out.extend_from_slice(&record_type.to_be_bytes());
        self.out.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.out.extend_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&(length as u16).to_be_bytes());
    }

    /// Ends the reply: an OPT record when the query had one (RFC 6891 section 7), with `errors` in it.
    pub fn finish<'t>(mut self, errors: impl IntoIterator<Item = Ede<'t>>) {
        if self.query.edns.is_some() {
            self.count(2);
            write_opt(self.out, self.query, 0, errors);
        }
    }
}

/// Appends an OPT record: our payload size, the client's DO bit, the upper bits of the response code,
/// and one EDE option per error.
pub(crate) fn write_opt<'t>(
    out: &mut Vec<u8>,
    query: &Query<'_>,
    rcode_high: u8,
    errors: impl IntoIterator<Item = Ede<'t>>,
) {
    out.extend_from_slice(&[0, 0, rtype::OPT as u8]);
    out.extend_from_slice(&PAYLOAD.to_be_bytes());
    let flags = if query.dnssec_ok() { 0x80 } else { 0 };
    out.extend_from_slice(&[rcode_high, 0, flags, 0, 0, 0]);
    let length_at = out.len() - 2;
    for error in errors {
        out.extend_from_slice(&[0, 15]);
        out.extend_from_slice(&(2 + error.text.len() as u16).to_be_bytes());
        out.extend_from_slice(&error.code.to_be_bytes());
        out.extend_from_slice(error.text.as_bytes());
    }
    let length = (out.len() - length_at - 2) as u16;
    out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
}

/// Replaces a reply that is longer than `limit` bytes by an empty one with TC set, so that the client
/// asks again over TCP (RFC 2181 section 9).
#[inline]
pub fn truncate(out: &mut Vec<u8>, query: &Query<'_>, limit: usize) {
    if out.len() <= limit {
        return;
    }
    let rcode = out[3] & 0x0f;
    Reply::new(out, query, rcode).truncated().finish([]);
}

/// Replies over encrypted transports are padded to a multiple of this (RFC 8467 section 4.1), in bytes.
const PADDING_BLOCK: usize = 468;

/// Pads a reply to a multiple of 468 bytes with the padding option (RFC 7830). One without an OPT record, or
/// without room, stays as it is.
pub fn pad(out: &mut Vec<u8>) {
    let bare = out.len() + 4;
    let padding = (PADDING_BLOCK - bare % PADDING_BLOCK) % PADDING_BLOCK;
    let padding = padding.min(MAX_MESSAGE.saturating_sub(bare));
    const ZEROS: [u8; PADDING_BLOCK] = [0; PADDING_BLOCK];
    add_option(out, 12, &ZEROS[..padding]);
}

/// Says how long an idle stream stays open (RFC 7828 section 3.1), in units of a tenth of a second.
pub fn add_keepalive(out: &mut Vec<u8>, idle: Duration) {
    let tenths = u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX);
    add_option(out, 11, &tenths.to_be_bytes());
}

/// Adds a cookie: the client's part and ours (RFC 7873 section 5.2).
pub fn add_cookie(out: &mut Vec<u8>, data: &[u8; 24]) {
    add_option(out, 10, data);
}

/// Writes an empty reply that has a client come back over TCP. Returns `false`, writing nothing, for what is no
/// plain query.
pub fn slip(out: &mut Vec<u8>, message: &[u8]) -> bool {
    match Query::parse(message) {
        Some(query) => {
            Reply::new(out, &query, rcode::NOERROR)
                .truncated()
                .finish([]);
            true
        }
        None => false,
    }
}

/// Adds an option to the OPT record, which in our replies is the last record if there is one.
fn add_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let mut opt = None;
    let walked = records::walk(out, |record| {
        opt = (record.record_type == rtype::OPT).then_some(record.data);
    });
    let (Ok(()), Some((start, end))) = (walked, opt) else {
        return;
    };
    let length = end - start + 4 + value.len();
    if end != out.len() || start + length > MAX_MESSAGE {
        return;
    }
    out[start - 2..start].copy_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// Writes a bare error reply for a message that could not be read as a query: its header alone, with
/// the identifier, opcode and RD it had (RFC 1035 section 4.1.1).
///
/// Returns `false`, writing nothing, for what must not be answered: a response, or less than a header.
pub fn error_without_question(out: &mut Vec<u8>, message: &[u8], code: u8) -> bool {
    out.clear();
    match message.get(..HEADER) {
        Some(header) if header[2] & QR == 0 => {
            let flags = QR | (header[2] & 0x79);
            out.extend_from_slice(&[header[0], header[1], flags, RA | code]);
            out.extend_from_slice(&[0; 8]);
            true
        }
        _ => false,
    }
}

/// Writes the reply to an EDNS version that we do not speak: BADVERS, whose code needs the OPT record's
/// upper bits (RFC 6891 section 6.1.3).
pub fn bad_version(out: &mut Vec<u8>, query: &Query<'_>) {
    let mut reply = Reply::new(out, query, rcode::NOERROR);
    reply.count(2);
    write_opt(out, query, 1, []);
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, ResponseCode};

    use super::super::query::write_query;
    use super::*;
    use crate::wire::{Edns, Name};

    fn ask(edns: bool) -> Vec<u8> {
        let edns = edns.then_some(Edns {
            payload: 1232,
            dnssec_ok: false,
        });
        write_query(7, &Name::from_text("a.Example").unwrap(), rtype::A, edns)
    }

    #[test]
    fn hickory_reads_what_we_write() {
        let message = ask(true);
        let query = Query::parse(&message).unwrap();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, &query, rcode::NXDOMAIN);
        reply.address("192.0.2.1".parse().unwrap(), 60);
        reply.soa(30);
        reply.finish([Ede {
            code: ede::BLOCKED,
            text: "list",
        }]);
        let read = Message::from_vec(&out).unwrap();
        assert_eq!(read.metadata.id, 7);
        assert_eq!(read.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(read.answers[0].to_string(), "a.example. 60 IN A 192.0.2.1");
        assert_eq!(read.authorities[0].ttl, 30);
        assert!(out.ends_with(b"\x00\x0f\x00\x06\x00\x0flist"));
    }

    #[test]
    fn rfc6891_7_no_opt_unless_asked() {
        let message = ask(false);
        let query = Query::parse(&message).unwrap();
        let mut out = Vec::new();
        Reply::new(&mut out, &query, 0).finish([Ede { code: 15, text: "" }]);
        assert_eq!(out.len(), message.len());
    }

    #[test]
    fn truncation_keeps_code_and_question() {
        let message = ask(true);
        let query = Query::parse(&message).unwrap();
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, &query, rcode::NXDOMAIN);
        for _ in 0..100 {
            reply.address("192.0.2.1".parse().unwrap(), 60);
        }
        reply.finish([]);
        truncate(&mut out, &query, 512);
        let read = Message::from_vec(&out).unwrap();
        assert!(read.metadata.truncation && read.answers.is_empty() && read.edns.is_some());
        assert_eq!(read.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn rfc8467_4_1_replies_are_padded_to_blocks() {
        for (edns, addresses) in [(true, 1), (true, 27), (true, 28), (true, 29), (false, 1)] {
            let message = ask(edns);
            let query = Query::parse(&message).unwrap();
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, &query, 0);
            for _ in 0..addresses {
                reply.address("192.0.2.1".parse().unwrap(), 60);
            }
            reply.finish([Ede {
                code: 15,
                text: "list",
            }]);
            let bare = out.len();
            add_keepalive(&mut out, Duration::from_secs(30));
            pad(&mut out);
            let read = Message::from_vec(&out).unwrap();
            assert_eq!(read.answers.len(), addresses);
            match read.edns {
                Some(edns) => {
                    assert_eq!(out.len() % 468, 0);
                    assert_eq!(edns.options().as_ref().len(), 3);
                }
                None => assert_eq!(out.len(), bare),
            }
        }
    }

    #[test]
    fn a_response_is_never_answered() {
        let mut out = Vec::new();
        assert!(!error_without_question(
            &mut out,
            &[0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            1
        ));
        assert!(!error_without_question(&mut out, &[0, 1], 1));
        assert!(error_without_question(
            &mut out,
            &[0, 9, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            4
        ));
        assert_eq!(out[..4], [0, 9, 0xa1, 0x84]);
    }
}
