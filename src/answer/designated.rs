//! Discovery of Designated Resolvers (RFC 9462): clients on plain DNS ask for `_dns.resolver.arpa` and learn how
//! to go on encrypted.

use crate::wire::reply::Reply;
use crate::wire::{Name, Query, rcode, rtype};

/// How long clients may keep it, in seconds: listeners and devices may change.
const TTL: u32 = 300;
/// Parameters of SVCB records (RFC 9460 section 14.3.2, RFC 9461 section 5).
const ALPN: u16 = 1;
const PORT: u16 = 3;
const DOHPATH: u16 = 7;

/// What is listened for besides plain DNS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Designated {
    /// The host name that the certificate is for.
    pub hostname: Option<Name>,
    /// The port of DNS over TLS.
    pub tls: Option<u16>,
    /// The port of DNS over HTTPS.
    pub https: Option<u16>,
    /// The port of DNS over QUIC.
    pub quic: Option<u16>,
    /// The path of DNS over HTTPS.
    pub path: &'static str,
}

impl Designated {
    /// Writes the records for a client: under the host name of its device, or under the bare one. A client
    /// that may not come in encrypted (`welcome` is false) is told that there is nothing.
    pub fn write(&self, welcome: bool, label: Option<&str>, out: &mut Vec<u8>, query: &Query<'_>) {
        let mut reply = Reply::new(out, query, rcode::NOERROR).authoritative();
        let target = match (&self.hostname, label) {
            (Some(hostname), Some(label)) => Name::from_text(&format!("{label}.{hostname}")).ok(),
            (Some(hostname), None) => Some(hostname.clone()),
            (None, _) => None,
        };
        let Some(target) = target.filter(|_| welcome) else {
            reply.soa(TTL);
            return reply.finish([]);
        };
        let ways = [
            (self.tls, &b"\x03dot"[..], ""),
            (self.https, b"\x02h2", self.path),
            (self.quic, b"\x03doq", ""),
        ];
        let mut any = false;
        for (priority, (port, alpn, path)) in (1u16..).zip(ways) {
            let Some(port) = port else {
                continue;
            };
            any = true;
            let mut data = priority.to_be_bytes().to_vec();
            data.extend_from_slice(target.wire());
            add(&mut data, ALPN, alpn);
            add(&mut data, PORT, &port.to_be_bytes());
            if !path.is_empty() {
                add(&mut data, DOHPATH, format!("{path}{{?dns}}").as_bytes());
            }
            reply.answer(rtype::SVCB, TTL, &data);
        }
        if !any {
            reply.soa(TTL);
        }
        reply.finish([]);
    }
}

fn add(data: &mut Vec<u8>, key: u16, value: &[u8]) {
    data.extend_from_slice(&key.to_be_bytes());
    data.extend_from_slice(&(value.len() as u16).to_be_bytes());
    data.extend_from_slice(value);
}
