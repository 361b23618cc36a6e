//! How a blocked name is answered. A new way is a variant of [`BlockKind`] and an arm in
//! [`BlockAnswer::write`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use crate::wire::reply::{Ede, Reply};
use crate::wire::{Query, rcode, rtype};

/// The ways.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// `0.0.0.0` and `::`: the client's connection fails at once.
    #[default]
    Null,
    /// No such name.
    Nxdomain,
    /// The name has nothing of this type.
    Nodata,
    /// Refused. Many clients then ask their next resolver.
    Refused,
    /// Addresses of the owner's choice.
    Address,
}

/// A way, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockAnswer {
    /// The way.
    pub kind: BlockKind,
    /// For [`BlockKind::Address`].
    pub addresses: Vec<IpAddr>,
    /// How long clients may keep the answer, in seconds.
    pub ttl: u32,
}

impl Default for BlockAnswer {
    fn default() -> Self {
        Self {
            kind: BlockKind::Null,
            addresses: Vec::new(),
            ttl: 300,
        }
    }
}

impl BlockAnswer {
    /// Writes the answer to `query` into `out`.
    ///
    /// A and AAAA get addresses where the way has some; HTTPS, SVCB and every other type get NODATA, lest
    /// a client learns addresses by another door. What is empty has an SOA, so that clients cache it
    /// (RFC 2308 section 5).
    pub fn write(&self, out: &mut Vec<u8>, query: &Query<'_>, error: Ede<'_>) {
        let code = match self.kind {
            BlockKind::Nxdomain => rcode::NXDOMAIN,
            BlockKind::Refused => rcode::REFUSED,
            _ => rcode::NOERROR,
        };
        let mut reply = Reply::new(out, query, code);
        let null = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let addresses: &[IpAddr] = match self.kind {
            BlockKind::Null => &null,
            BlockKind::Address => &self.addresses,
            _ => &[],
        };
        let mut empty = true;
        for address in addresses {
            if query.qtype == address_type(address) {
                reply.address(*address, self.ttl);
                empty = false;
            }
        }
        if empty && self.kind != BlockKind::Refused {
            reply.soa(self.ttl);
        }
        reply.finish([error]);
    }
}

fn address_type(address: &IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => rtype::A,
        IpAddr::V6(_) => rtype::AAAA,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, ResponseCode};

    use super::*;
    use crate::wire::{Edns, Name, query::write_query, reply::ede};

    fn answer(block: &BlockAnswer, qtype: u16) -> Message {
        let edns = Edns {
            payload: 1232,
            dnssec_ok: false,
        };
        let asked = write_query(1, &Name::from_text("ads.test").unwrap(), qtype, Some(edns));
        let query = Query::parse(&asked).unwrap();
        let mut out = Vec::new();
        let error = Ede {
            code: ede::BLOCKED,
            text: "catalogue",
        };
        block.write(&mut out, &query, error);
        assert!(out.ends_with(b"\x00\x0f\x00\x0b\x00\x0fcatalogue"));
        Message::from_vec(&out).unwrap()
    }

    #[test]
    fn every_way_for_every_kind_of_type() {
        use BlockKind::*;
        let addresses = vec!["192.0.2.9".parse().unwrap()];
        for (kind, qtype, code, records, soa) in [
            (Null, rtype::A, ResponseCode::NoError, 1, false),
            (Null, rtype::AAAA, ResponseCode::NoError, 1, false),
            (Null, rtype::HTTPS, ResponseCode::NoError, 0, true),
            (Null, rtype::TXT, ResponseCode::NoError, 0, true),
            (Nxdomain, rtype::A, ResponseCode::NXDomain, 0, true),
            (Nodata, rtype::A, ResponseCode::NoError, 0, true),
            (Refused, rtype::A, ResponseCode::Refused, 0, false),
            (Address, rtype::A, ResponseCode::NoError, 1, false),
            (Address, rtype::AAAA, ResponseCode::NoError, 0, true),
        ] {
            let block = BlockAnswer {
                kind,
                addresses: addresses.clone(),
                ttl: 77,
            };
            let message = answer(&block, qtype);
            let what = format!("{kind:?} for type {qtype}");
            assert_eq!(message.metadata.response_code, code, "{what}");
            assert_eq!(message.answers.len(), records, "{what}");
            assert_eq!(message.authorities.len(), usize::from(soa), "{what}");
            let ttls = message.answers.iter().chain(&message.authorities);
            assert!(ttls.map(|record| record.ttl).all(|ttl| ttl == 77), "{what}");
        }
    }
}
