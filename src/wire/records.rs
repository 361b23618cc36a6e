//! Walking the records of a response.

use std::net::IpAddr;

use super::{HEADER, Name, rtype, u16_at, u32_at};

/// SvcParamKeys of addresses (RFC 9460 section 14.3.2).
const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;

/// A response cannot be walked: cut short, a name that never ends, or trailing bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed response")]
pub struct Malformed;

/// The section that a record stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Records that answer the question.
    Answer,
    /// SOA or NS records that speak for the zone.
    Authority,
    /// The rest, OPT included.
    Additional,
}

/// One record, by its places in the message.
#[derive(Debug, Clone, Copy)]
pub struct RecordAt {
    /// Its section.
    pub section: Section,
    /// Where its owner name starts.
    pub start: usize,
    /// Its type.
    pub record_type: u16,
    /// Where its four TTL bytes start.
    pub ttl_at: usize,
    /// Its TTL in seconds; a set top bit counts as zero (RFC 2181 section 8).
    pub ttl: u32,
    /// Where its data starts and ends.
    pub data: (usize, usize),
}

/// Calls `visit` for every record behind the question section, in order.
pub fn walk(message: &[u8], mut visit: impl FnMut(RecordAt)) -> Result<(), Malformed> {
    let mut at = question_end(message)?;
    let sections = [
        (Section::Answer, 6),
        (Section::Authority, 8),
        (Section::Additional, 10),
    ];
    for (section, count_at) in sections {
        for _ in 0..u16_at(message, count_at).ok_or(Malformed)? {
            let start = at;
            at = skip_name(message, at)?;
            let record_type = u16_at(message, at).ok_or(Malformed)?;
            let ttl = u32_at(message, at + 4).ok_or(Malformed)?;
            let length = u16_at(message, at + 8).ok_or(Malformed)? as usize;
            let data = (at + 10, at + 10 + length);
            if data.1 > message.len() {
                return Err(Malformed);
            }
            visit(RecordAt {
                section,
                start,
                record_type,
                ttl_at: at + 4,
                ttl: if ttl > i32::MAX as u32 { 0 } else { ttl },
                data,
            });
            at = data.1;
        }
    }
    if at == message.len() {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// Where the question section ends; a response to one of our queries has exactly one question.
pub fn question_end(message: &[u8]) -> Result<usize, Malformed> {
    if u16_at(message, 4) != Some(1) {
        return Err(Malformed);
    }
    let end = skip_name(message, HEADER)? + 4;
    if end > message.len() {
        return Err(Malformed);
    }
    Ok(end)
}

fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match *message.get(at).ok_or(Malformed)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += 1 + length as usize,
            192..=255 => {
                message.get(at + 1).ok_or(Malformed)?;
                return Ok(at + 2);
            }
            _ => return Err(Malformed),
        }
    }
}

/// Reads a possibly compressed name that starts at `at`, in lower case.
///
/// A pointer may only point backwards, so the walk ends (RFC 1035 section 4.1.4).
pub fn read_name(message: &[u8], mut at: usize) -> Result<Name, Malformed> {
    let mut wire = [0u8; super::name::MAX_NAME];
    let mut filled = 0;
    let mut earliest = at;
    loop {
        let length = *message.get(at).ok_or(Malformed)?;
        match length {
            0 => {
                wire[filled] = 0;
                return Name::read(&wire[..=filled]).map_err(|_| Malformed);
            }
            1..=63 => {
                let label = message.get(at..at + 1 + length as usize).ok_or(Malformed)?;
                if filled + label.len() >= wire.len() {
                    return Err(Malformed);
                }
                wire[filled..filled + label.len()].copy_from_slice(label);
                filled += label.len();
                at += label.len();
            }
            192..=255 => {
                let low = *message.get(at + 1).ok_or(Malformed)?;
                let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                if target >= earliest {
                    return Err(Malformed);
                }
                earliest = target;
                at = target;
            }
            _ => return Err(Malformed),
        }
    }
}

/// The EDE options (RFC 8914) in the data of an OPT record: code and text.
pub fn extended_errors(options: &[u8]) -> Vec<(u16, String)> {
    let mut errors = Vec::new();
    let mut at = 0;
    while let (Some(code), Some(length)) = (u16_at(options, at), u16_at(options, at + 2)) {
        let Some(data) = options.get(at + 4..at + 4 + length as usize) else {
            break;
        };
        if code == 15 && data.len() >= 2 {
            let text = String::from_utf8_lossy(&data[2..]);
            let text = text
                .trim_end_matches('\0')
                .chars()
                .filter(|c| !c.is_control());
            errors.push((
                u16::from_be_bytes([data[0], data[1]]),
                text.take(200).collect(),
            ));
        }
        at += 4 + length as usize;
    }
    errors
}

/// The name that a CNAME, DNAME, SVCB or HTTPS record points to; `None` for other records and for an
/// SVCB target of `.`, which means the owner itself (RFC 9460 section 2.5).
pub fn target(message: &[u8], record: &RecordAt) -> Option<Name> {
    let at = match record.record_type {
        rtype::CNAME | rtype::DNAME => record.data.0,
        rtype::SVCB | rtype::HTTPS => record.data.0 + 2,
        _ => return None,
    };
    let name = read_name(message, at).ok()?;
    (name.labels() > 0).then_some(name)
}

/// Calls `visit` for every address in a record's data: A, AAAA, and the hints of SVCB and HTTPS records,
/// which a client may connect to without asking further (RFC 9460 section 7.3).
pub fn each_address(message: &[u8], record: &RecordAt, mut visit: impl FnMut(IpAddr)) {
    let data = &message[record.data.0..record.data.1];
    match record.record_type {
        rtype::A => each_of::<4>(data, &mut visit),
        rtype::AAAA => each_of::<16>(data, &mut visit),
        rtype::SVCB | rtype::HTTPS => {
            let Ok(mut at) = skip_name(message, record.data.0 + 2) else {
                return;
            };
            while let (Some(key), Some(length)) = (u16_at(message, at), u16_at(message, at + 2)) {
                let end = at + 4 + usize::from(length);
                if end > record.data.1 {
                    return;
                }
                match key {
                    IPV4HINT => each_of::<4>(&message[at + 4..end], &mut visit),
                    IPV6HINT => each_of::<16>(&message[at + 4..end], &mut visit),
                    _ => {}
                }
                at = end;
            }
        }
        _ => {}
    }
}

fn each_of<const N: usize>(data: &[u8], visit: &mut impl FnMut(IpAddr))
where
    IpAddr: From<[u8; N]>,
{
    for address in data.as_chunks::<N>().0 {
        visit(IpAddr::from(*address));
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::{Message, OpCode, Query};
    use hickory_proto::rr::rdata::CNAME;
    use hickory_proto::rr::{Name as HickoryName, RData, Record, RecordType};

    use super::*;

    fn response() -> Vec<u8> {
        let name = |text| HickoryName::from_str(text).unwrap();
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(name("www.shop.example."), RecordType::A));
        message.add_answer(Record::from_rdata(
            name("www.shop.example."),
            300,
            RData::CNAME(CNAME(name("cdn.Tracker.example."))),
        ));
        message.add_answer(Record::from_rdata(
            name("cdn.tracker.example."),
            60,
            RData::A("192.0.2.1".parse().unwrap()),
        ));
        message.to_vec().unwrap()
    }

    #[test]
    fn finds_ttls_and_targets() {
        let message = response();
        let mut seen = Vec::new();
        walk(&message, |record| {
            seen.push((record.record_type, record.ttl, target(&message, &record)))
        })
        .unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(
            seen[0].2.as_ref().unwrap().to_string(),
            "cdn.tracker.example"
        );
        assert_eq!((seen[1].0, seen[1].1), (rtype::A, 60));
        assert!(seen[1].2.is_none());
    }

    #[test]
    fn every_cut_is_refused() {
        let message = response();
        for cut in 0..message.len() {
            assert_eq!(
                walk(&message[..cut], |_| {}),
                Err(Malformed),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn rfc1035_4_1_4_pointers_go_backwards_only() {
        let mut message = vec![0; 12];
        message.extend_from_slice(&[0xc0, 12]);
        assert!(read_name(&message, 12).is_err());
        message.extend_from_slice(&[0xc0, 12]);
        assert!(read_name(&message, 14).is_err());
    }

    #[test]
    fn extended_errors_are_read_and_cleaned() {
        let options =
            b"\x00\x0f\x00\x06\x00\x16a\x1bb\x00\x00\x0c\x00\x01\x00\x00\x0f\x00\x02\x00\x03";
        assert_eq!(
            extended_errors(options),
            [(22, "ab".to_owned()), (3, String::new())]
        );
        assert!(extended_errors(b"\x00\x0f\x00\xff\x00").is_empty());
    }
}
