//! Answers to special-use names and to questions of unusual kinds.

use crate::policy::special::{Special, is_loopback_reverse};
use crate::wire::reply::{Ede, Reply, ede};
use crate::wire::{CLASS_IN, Query, rcode, rtype};

/// The TTL of such answers in seconds: they never change.
const TTL: u32 = 3600;

/// Writes the answer to a special-use name.
pub fn write_special(special: Special, out: &mut Vec<u8>, query: &Query<'_>) {
    let code = match special {
        Special::NxDomain => rcode::NXDOMAIN,
        _ => rcode::NOERROR,
    };
    let mut reply = Reply::new(out, query, code).authoritative();
    match special {
        Special::Loopback(address) => reply.address(address, TTL),
        Special::Designated | Special::NoData | Special::NxDomain => reply.soa(TTL),
    }
    reply.finish([]);
}

/// Writes the answer to a question that is not an ordinary one: REFUSED for transfers, HINFO for ANY
/// (RFC 8482 section 4.2), NOTIMP for meta types and other classes. Returns `false`, writing nothing, for
/// ordinary questions.
pub fn write_unusual(out: &mut Vec<u8>, query: &Query<'_>) -> bool {
    if query.is_ordinary() {
        if query.qtype == rtype::PTR && is_loopback_reverse(&query.name) {
            let mut reply = Reply::new(out, query, rcode::NOERROR).authoritative();
            reply.answer(rtype::PTR, TTL, b"\x09localhost\x00");
            reply.finish([]);
            return true;
        }
        return false;
    }
    match (query.qclass, query.qtype) {
        (CLASS_IN, rtype::ANY) => {
            let mut reply = Reply::new(out, query, rcode::NOERROR);
            reply.answer(rtype::HINFO, TTL, b"\x07RFC8482\x00");
            reply.finish([]);
        }
        (_, rtype::AXFR | rtype::IXFR) => Reply::new(out, query, rcode::REFUSED).finish([]),
        // CHAOS (`version.bind`) tells strangers what to attack; refused like by most resolvers.
        (3, _) => Reply::new(out, query, rcode::REFUSED).finish([]),
        _ => Reply::new(out, query, rcode::NOTIMP).finish([]),
    }
    true
}

/// Writes REFUSED for a client that may not ask (RFC 8914 section 4.19).
pub fn write_prohibited(out: &mut Vec<u8>, query: &Query<'_>) {
    let error = Ede {
        code: ede::PROHIBITED,
        text: "",
    };
    Reply::new(out, query, rcode::REFUSED).finish([error]);
}
