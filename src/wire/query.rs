//! Reading a client's question in place.

use super::cookie::Cookie;
use super::{CLASS_IN, HEADER, Name, rtype, u16_at};

/// What a client says about itself in its OPT record (RFC 6891 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP reply it takes, in bytes.
    pub payload: u16,
    /// The DO bit: it wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
}

/// EDNS options that ask for something in the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The query was padded, so the reply is to be, too (RFC 7830 section 4).
    pub padding: bool,
    /// The client wants to know how long an idle stream stays open (RFC 7828).
    pub keepalive: bool,
    /// The client's cookie, which the reply is to repeat with ours (RFC 7873).
    pub cookie: Option<Cookie>,
}

impl Options {
    const COOKIE: u16 = 10;
    const KEEPALIVE: u16 = 11;
    const PADDING: u16 = 12;

    /// Takes note of an option; `None` for one that cannot be as it is.
    #[inline]
    pub fn take(&mut self, code: u16, data: &[u8]) -> Option<()> {
        match code {
            Self::PADDING => self.padding = true,
            Self::KEEPALIVE => self.keepalive = true,
            // Of several only the first counts (RFC 7873 section 5.2).
            Self::COOKIE if self.cookie.is_none() => self.cookie = Some(Cookie::read(data)?),
            _ => {}
        }
        Some(())
    }
}

/// One question with the header bits and EDNS values that shape its answer.
///
/// Borrows the message so that the reply echoes the question byte for byte: clients that vary the case
/// of letters against spoofing (0x20) check that.
#[derive(Debug, Clone)]
pub struct Query<'m> {
    /// The message's identifier.
    pub id: u16,
    /// RD.
    pub recursion_desired: bool,
    /// AD: the client wants to see the AD bit (RFC 6840 section 5.7).
    pub authentic_data: bool,
    /// CD: the client validates by itself (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
    /// The question section as it came: name, type, class.
    pub question: &'m [u8],
    /// The name, lower case.
    pub name: Name,
    /// The type asked for.
    pub qtype: u16,
    /// The class asked for.
    pub qclass: u16,
    /// The OPT record's values, when there was one.
    pub edns: Option<Edns>,
    /// What its options ask for.
    pub options: Options,
}

impl<'m> Query<'m> {
    /// Reads the plain kind of query that nearly every client sends: one question, nothing but an
    /// OPT record of version 0 behind it, no trailing bytes.
    ///
    /// Returns `None` for everything else, well formed or not: that is for the general path to judge,
    /// which reads the whole message.
    #[inline]
    pub fn parse(message: &'m [u8]) -> Option<Self> {
        let header: &[u8; HEADER] = message.get(..HEADER)?.try_into().ok()?;
        // QR and the four opcode bits have to be zero: a standard query.
        if header[2] & 0b1111_1000 != 0 {
            return None;
        }
        if header[4..10] != [0, 1, 0, 0, 0, 0] || header[10] != 0 || header[11] > 1 {
            return None;
        }
        let name = Name::read(&message[HEADER..]).ok()?;
        let after_name = HEADER + name.wire().len();
        let end = after_name + 4;
        let qtype = u16_at(message, after_name)?;
        let qclass = u16_at(message, after_name + 2)?;
        let mut options = Options::default();
        let edns = if header[11] == 1 {
            let (edns, used) = read_opt(message.get(end..)?, &mut options)?;
            if end + used != message.len() {
                return None;
            }
            Some(edns)
        } else {
            if end != message.len() {
                return None;
            }
            None
        };
        Some(Self {
            id: u16::from_be_bytes([header[0], header[1]]),
            recursion_desired: header[2] & 1 != 0,
            authentic_data: header[3] & 0x20 != 0,
            checking_disabled: header[3] & 0x10 != 0,
            question: &message[HEADER..end],
            name,
            qtype,
            qclass,
            edns,
            options,
        })
    }

    /// Whether the client asked for DNSSEC records.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The two header bits that change what an upstream answers: DO and CD, in that order from the lowest.
    #[inline]
    pub fn variant(&self) -> u8 {
        u8::from(self.dnssec_ok()) | u8::from(self.checking_disabled) << 1
    }

    /// The largest UDP reply in bytes that the client takes (RFC 6891 section 6.2.3), never above
    /// `limit` and never below 512.
    #[inline]
    pub fn udp_limit(&self, limit: usize) -> usize {
        match self.edns {
            Some(edns) => (edns.payload as usize).clamp(512, limit.max(512)),
            None => 512,
        }
    }

    /// Whether this is an ordinary Internet question, not a transfer or a question for all types.
    #[inline]
    pub fn is_ordinary(&self) -> bool {
        self.qclass == CLASS_IN
            && !matches!(
                self.qtype,
                rtype::OPT | rtype::ANY | rtype::AXFR | rtype::IXFR | 0
            )
            && !(128..255).contains(&self.qtype)
    }
}

/// Reads an OPT record: `None` unless it is one of version 0 with the root as owner and options whose
/// lengths add up. Returns the values and the record's length in bytes.
fn read_opt(bytes: &[u8], asked: &mut Options) -> Option<(Edns, usize)> {
    let fixed: &[u8; 11] = bytes.get(..11)?.try_into().ok()?;
    let record_type = u16::from_be_bytes([fixed[1], fixed[2]]);
    let (version, length) = (fixed[6], u16::from_be_bytes([fixed[9], fixed[10]]) as usize);
    if fixed[0] != 0 || record_type != rtype::OPT || version != 0 {
        return None;
    }
    let mut options = bytes.get(11..11 + length)?;
    while !options.is_empty() {
        let length = u16_at(options, 2)? as usize;
        asked.take(u16_at(options, 0)?, options.get(4..4 + length)?)?;
        options = &options[4 + length..];
    }
    let edns = Edns {
        payload: u16::from_be_bytes([fixed[3], fixed[4]]),
        dnssec_ok: fixed[7] & 0x80 != 0,
    };
    Some((edns, 11 + length))
}

/// Writes a query message: a header with RD set, the question, and an OPT record when `edns` is given.
///
/// The opposite of [`Query::parse`]; the CLI, the tests and the benchmarks ask with it.
pub fn write_query(id: u16, name: &Name, qtype: u16, edns: Option<Edns>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + name.wire().len() + 4 + 11);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
    out.extend_from_slice(name.wire());
    out.extend_from_slice(&qtype.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    if let Some(edns) = edns {
        out.extend_from_slice(&[0, 0, rtype::OPT as u8]);
        out.extend_from_slice(&edns.payload.to_be_bytes());
        out.extend_from_slice(&[0, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDNS: Edns = Edns {
        payload: 1232,
        dnssec_ok: true,
    };

    #[test]
    fn reads_what_it_writes() {
        let name = Name::from_text("tracking.miui.com").unwrap();
        let message = write_query(0x1234, &name, rtype::AAAA, Some(EDNS));
        let query = Query::parse(&message).unwrap();
        assert_eq!(query.id, 0x1234);
        assert_eq!(query.name, name);
        assert_eq!(query.qtype, rtype::AAAA);
        assert!(query.recursion_desired && !query.checking_disabled);
        assert_eq!(query.edns, Some(EDNS));
        assert_eq!(query.udp_limit(4096), 1232);
        assert_eq!(query.udp_limit(600), 600);
    }

    #[test]
    fn keeps_the_case_of_the_question() {
        let name = Name::from_text("miui.com").unwrap();
        let mut message = write_query(1, &name, rtype::A, None);
        message[13] = b'M';
        let query = Query::parse(&message).unwrap();
        assert_eq!(query.name, name);
        assert_eq!(query.question[1], b'M');
        assert_eq!(query.udp_limit(4096), 512);
    }

    #[test]
    fn leaves_the_unusual_to_the_general_path() {
        let name = Name::from_text("miui.com").unwrap();
        let good = write_query(1, &name, rtype::A, Some(EDNS));
        assert!(Query::parse(&good).is_some());
        for cut in 0..good.len() {
            assert!(Query::parse(&good[..cut]).is_none(), "cut at {cut}");
        }
        let change = |at: usize, to: u8| {
            let mut message = good.clone();
            message[at] = to;
            message
        };
        let opt = good.len() - 11;
        for (what, message) in [
            ("a response", change(2, 0x81)),
            ("opcode NOTIFY", change(2, 0x20)),
            ("two questions", change(5, 2)),
            ("an answer", change(7, 1)),
            ("two additional records", change(11, 2)),
            ("a compressed name", change(12, 0xc0)),
            ("EDNS version 1", change(opt + 6, 1)),
            ("an OPT record with an owner", change(opt, 1)),
            ("options longer than the record", change(opt + 10, 9)),
        ] {
            assert!(Query::parse(&message).is_none(), "{what}");
        }
        let mut trailing = good.clone();
        trailing.push(0);
        assert!(Query::parse(&trailing).is_none());
    }
}
