//! Names that the owner defined.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::wire::reply::Reply;
use crate::wire::{Name, Query, rcode, rtype};

/// The TTL of local records in seconds: short enough that a change in the configuration is soon seen.
pub const TTL: u32 = 300;

/// What a local name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// Another name, local or not.
    Alias(Box<Name>),
    /// The names of an address.
    Reverse(Vec<Name>),
}

/// All local names, and the reverse names of their addresses.
#[derive(Debug, Default)]
pub struct LocalRecords {
    names: HashMap<Name, Local>,
}

impl LocalRecords {
    /// Takes the names; each address gets a reverse name unless it has one of its own.
    pub fn new(names: impl IntoIterator<Item = (Name, Local)>) -> Self {
        let names: HashMap<Name, Local> = names.into_iter().collect();
        let mut reverse: HashMap<Name, Vec<Name>> = HashMap::new();
        for (name, local) in &names {
            if let Local::Addresses(addresses) = local {
                for address in addresses {
                    reverse
                        .entry(reverse_name(*address))
                        .or_default()
                        .push(name.clone());
                }
            }
        }
        let mut all = names;
        for (name, mut targets) in reverse {
            targets.sort_by_key(|target| target.to_string());
            all.entry(name).or_insert(Local::Reverse(targets));
        }
        Self { names: all }
    }

    /// What `name` stands for, if it is local.
    #[inline]
    pub fn find(&self, name: &Name) -> Option<&Local> {
        if self.names.is_empty() {
            return None;
        }
        self.names.get(name)
    }

    /// Writes the answer for a name that has no alias: its records of the type asked for, else NODATA.
    pub fn write(local: &Local, out: &mut Vec<u8>, query: &Query<'_>) {
        let mut reply = Reply::new(out, query, rcode::NOERROR).authoritative();
        let mut empty = true;
        match local {
            Local::Addresses(addresses) => {
                for address in addresses {
                    let of_type = match address {
                        IpAddr::V4(_) => rtype::A,
                        IpAddr::V6(_) => rtype::AAAA,
                    };
                    if query.qtype == of_type {
                        reply.address(*address, TTL);
                        empty = false;
                    }
                }
            }
            Local::Reverse(names) if query.qtype == rtype::PTR => {
                for name in names {
                    reply.answer(rtype::PTR, TTL, name.wire());
                    empty = false;
                }
            }
            Local::Alias(target) => {
                reply.answer(rtype::CNAME, TTL, target.wire());
                empty = false;
            }
            Local::Reverse(_) => {}
        }
        if empty {
            reply.soa(TTL);
        }
        reply.finish([]);
    }
}

/// The name under which an address is looked up backwards (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse_name(address: IpAddr) -> Name {
    let text = match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6
                .octets()
                .into_iter()
                .rev()
                .flat_map(|byte| [byte & 15, byte >> 4]);
            let text: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{text}ip6.arpa")
        }
    };
    Name::from_text(&text).unwrap_or(Name::ROOT)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;

    use super::*;
    use crate::wire::query::write_query;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn answers(records: &LocalRecords, asked: &str, qtype: u16) -> Option<Vec<String>> {
        let local = records.find(&name(asked))?;
        let message = write_query(1, &name(asked), qtype, None);
        let query = Query::parse(&message).unwrap();
        let mut out = Vec::new();
        LocalRecords::write(local, &mut out, &query);
        let read = Message::from_vec(&out).unwrap();
        Some(read.answers.iter().map(|r| r.data.to_string()).collect())
    }

    #[test]
    fn addresses_and_their_reverse_names() {
        let records = LocalRecords::new([
            (
                name("nas.lan"),
                Local::Addresses(vec![
                    "192.168.1.2".parse().unwrap(),
                    "fd00::2".parse().unwrap(),
                ]),
            ),
            (name("files.lan"), Local::Alias(Box::new(name("nas.lan")))),
        ]);
        let of = |asked: &str, qtype| answers(&records, asked, qtype);
        assert_eq!(of("nas.lan", rtype::A).unwrap(), ["192.168.1.2"]);
        assert_eq!(of("nas.lan", rtype::AAAA).unwrap(), ["fd00::2"]);
        assert!(of("nas.lan", rtype::HTTPS).unwrap().is_empty());
        assert_eq!(
            of("2.1.168.192.in-addr.arpa", rtype::PTR).unwrap(),
            ["nas.lan."]
        );
        let v6 = format!("2.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(of(&v6, rtype::PTR).unwrap(), ["nas.lan."]);
        assert_eq!(of("files.lan", rtype::CNAME).unwrap(), ["nas.lan."]);
        assert_eq!(of("x.nas.lan", rtype::A), None);
    }
}
