//! Names with a meaning of their own: special-use domain names (RFC 6761) and the reverse zones of private
//! addresses (RFC 6303). They are answered here and never sent upstream.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{Name, rtype};

/// How a special name is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// `localhost` and below: the loopback address (RFC 6761 section 6.3).
    Loopback(IpAddr),
    /// `_dns.resolver.arpa`: how to reach this resolver encrypted (RFC 9462 section 4).
    Designated,
    /// The name exists and has nothing of this type.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// Top-level and other zones that the public DNS knows nothing about, by the standard that says so.
const EMPTY_ZONES: &[&str] = &[
    "invalid",   // RFC 6761
    "test",      // RFC 6761
    "local",     // RFC 6762: multicast DNS
    "onion",     // RFC 7686: Tor
    "home.arpa", // RFC 8375
    "alt",       // RFC 9476
    "internal",  // reserved by ICANN for private use
    "0.in-addr.arpa",
    "10.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "168.192.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
];

/// The special names, ready for look-up.
pub struct SpecialNames {
    empty: Vec<Name>,
    localhost: Name,
    resolver_arpa: Name,
}

impl Default for SpecialNames {
    fn default() -> Self {
        // 172.16.0.0/12 and 100.64.0.0/10 (RFC 7793) have no single reverse zone.
        let private = (16..32).map(|n| format!("{n}.172.in-addr.arpa"));
        let shared = (64..128).map(|n| format!("{n}.100.in-addr.arpa"));
        let fixed = EMPTY_ZONES.iter().map(|zone| (*zone).to_owned());
        let parse = |text: &str| Name::from_text(text).unwrap_or(Name::ROOT);
        Self {
            empty: fixed
                .chain(private)
                .chain(shared)
                .map(|t| parse(&t))
                .collect(),
            localhost: parse("localhost"),
            resolver_arpa: parse("resolver.arpa"),
        }
    }
}

impl SpecialNames {
    /// How to answer `name`, if it is special.
    #[inline]
    pub fn find(&self, name: &Name, qtype: u16) -> Option<Special> {
        let labels = name.labels();
        if labels == 0 {
            return None;
        }
        // One look at the last label spares ordinary names the walk.
        match name.label(labels - 1) {
            b"localhost" => Some(loopback(qtype)),
            b"arpa" | b"invalid" | b"test" | b"local" | b"onion" | b"alt" | b"internal" => {
                self.among_zones(name, qtype)
            }
            _ => None,
        }
    }

    fn among_zones(&self, name: &Name, qtype: u16) -> Option<Special> {
        // RFC 9462 section 6.4: `resolver.arpa` is this resolver's own.
        if name.is_within(&self.resolver_arpa) {
            if qtype == rtype::SVCB && name.labels() == 3 && name.label(0) == b"_dns" {
                return Some(Special::Designated);
            }
            return Some(Special::NoData);
        }
        if qtype == rtype::PTR && is_loopback_reverse(name) {
            return None;
        }
        let zone = self.empty.iter().find(|zone| name.is_within(zone))?;
        Some(if name == zone {
            Special::NoData
        } else {
            Special::NxDomain
        })
    }

    /// The name that loopback addresses go back to.
    pub fn localhost(&self) -> &Name {
        &self.localhost
    }
}

fn loopback(qtype: u16) -> Special {
    match qtype {
        rtype::A => Special::Loopback(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        rtype::AAAA => Special::Loopback(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        _ => Special::NoData,
    }
}

/// Whether this is the reverse name of 127.0.0.1 or ::1, which RFC 6303 lets answer `localhost`.
pub fn is_loopback_reverse(name: &Name) -> bool {
    const V4: &[u8] = b"\x011\x010\x010\x03127\x07in-addr\x04arpa\x00";
    if name.wire() == V4 {
        return true;
    }
    name.labels() == 34
        && name.label(0) == b"1"
        && (1..32).all(|at| name.label(at) == b"0")
        && name.label(32) == b"ip6"
        && name.label(33) == b"arpa"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, qtype: u16) -> Option<Special> {
        SpecialNames::default().find(&Name::from_text(text).unwrap(), qtype)
    }

    #[test]
    fn rfc6761_6_3_localhost_is_loopback() {
        assert_eq!(
            find("a.localhost", rtype::A),
            Some(Special::Loopback(IpAddr::V4(Ipv4Addr::LOCALHOST)))
        );
        assert_eq!(find("localhost", rtype::HTTPS), Some(Special::NoData));
    }

    #[test]
    fn special_zones_never_leak() {
        for (text, qtype) in [
            ("x.onion", rtype::A),
            ("printer.local", rtype::A),
            ("a.b.test", rtype::A),
            ("router.home.arpa", rtype::A),
            ("1.1.168.192.in-addr.arpa", rtype::PTR),
            ("1.0.31.172.in-addr.arpa", rtype::PTR),
            ("1.0.100.100.in-addr.arpa", rtype::PTR),
            ("1.d.f.ip6.arpa", rtype::PTR),
            ("8.b.d.0.1.0.0.2.ip6.arpa", rtype::PTR),
        ] {
            assert!(find(text, qtype).is_some(), "{text}");
        }
        assert_eq!(find("home.arpa", rtype::SOA), Some(Special::NoData));
    }

    #[test]
    fn public_names_are_left_alone() {
        for text in [
            "example.com",
            "local.example",
            "8.8.8.8.in-addr.arpa",
            "1.32.172.in-addr.arpa",
            "1.128.100.in-addr.arpa",
            "e164.arpa",
            "ipv4only.arpa",
            ".",
        ] {
            assert_eq!(find(text, rtype::PTR), None, "{text}");
        }
    }
}
