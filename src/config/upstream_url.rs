//! Upstream servers as people write them: `tls://9.9.9.9#dns.quad9.net`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// How an upstream is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP, with TCP when an answer is cut short.
    Udp,
    /// TCP only.
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS with HTTP/2 (RFC 8484).
    Https,
    /// DNS over HTTPS with HTTP/3.
    H3,
    /// DNS over QUIC (RFC 9250).
    Quic,
}

impl Transport {
    const ALL: [Self; 6] = [
        Self::Udp,
        Self::Tcp,
        Self::Tls,
        Self::Https,
        Self::H3,
        Self::Quic,
    ];

    /// The URL's scheme.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::H3 => "h3",
            Self::Quic => "quic",
        }
    }

    /// The port when the URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 53,
            Self::Tls | Self::Quic => 853,
            Self::Https | Self::H3 => 443,
        }
    }

    /// Whether the server shows a certificate.
    pub fn is_encrypted(self) -> bool {
        !matches!(self, Self::Udp | Self::Tcp)
    }

    fn has_path(self) -> bool {
        matches!(self, Self::Https | Self::H3)
    }
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// At this address.
    Address(IpAddr),
    /// At the address that the bootstrap servers give for this name.
    Name(String),
}

/// A server to forward to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    /// How it is talked to.
    pub transport: Transport,
    /// Where it is.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The path for HTTP.
    pub path: Option<String>,
    /// The name its certificate has to have; the host when the URL names none.
    pub tls_name: Option<String>,
}

/// What is wrong with an upstream, and how one is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` {why}; expected an upstream such as \"tls://9.9.9.9#dns.quad9.net\", \
     \"https://dns.quad9.net/dns-query\", \"quic://…\", \"h3://…\", \"udp://192.168.1.1\" or \"tcp://…\""
)]
pub struct UpstreamUrlError {
    text: String,
    why: String,
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    fn from_str(text: &str) -> Result<Self, UpstreamUrlError> {
        let error = |why: String| UpstreamUrlError {
            text: text.to_owned(),
            why,
        };
        let (transport, rest) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let found = Transport::ALL.into_iter().find(|t| t.scheme() == scheme);
                let transport = found
                    .ok_or_else(|| error(format!("has a scheme that is not known: `{scheme}`")))?;
                (transport, rest)
            }
            // A bare address is what every other resolver takes for plain DNS.
            None => (Transport::Udp, text),
        };
        let (rest, tls_name) = match rest.split_once('#') {
            Some((rest, name)) if is_host_name(name) => (rest, Some(name.to_owned())),
            Some((_, name)) => return Err(error(format!("has a bad TLS name: `{name}`"))),
            None => (rest, None),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(format!("/{path}"))),
            None => (rest, None),
        };
        let (host, port) = split_port(authority, transport.default_port())
            .ok_or_else(|| error("has no usable host and port".to_owned()))?;
        if path.is_some() && !transport.has_path() {
            return Err(error("has a path, which only https and h3 have".to_owned()));
        }
        if tls_name.is_some() && !transport.is_encrypted() {
            return Err(error("has a TLS name but is not encrypted".to_owned()));
        }
        Ok(Self {
            transport,
            host,
            port,
            path: path.or_else(|| transport.has_path().then(|| "/dns-query".to_owned())),
            tls_name,
        })
    }
}

fn split_port(authority: &str, default: u16) -> Option<(Host, u16)> {
    if let Some(inner) = authority.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if rest.is_empty() => default,
            None => return None,
        };
        return Some((Host::Address(address.into()), port));
    }
    if let Ok(address) = authority.parse::<IpAddr>() {
        return Some((Host::Address(address), default));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, default),
    };
    if port == 0 {
        return None;
    }
    match host.parse::<IpAddr>() {
        Ok(address) => Some((Host::Address(address), port)),
        Err(_) if is_host_name(host) => Some((Host::Name(host.to_owned()), port)),
        Err(_) => None,
    }
}

fn is_host_name(text: &str) -> bool {
    let known = crate::wire::Name::from_text(text);
    text.is_ascii() && known.is_ok_and(|name| name.labels() > 0)
}

impl UpstreamUrl {
    /// The name that the server's certificate has to be for.
    pub fn certificate_name(&self) -> String {
        match (&self.tls_name, &self.host) {
            (Some(name), _) | (None, Host::Name(name)) => name.clone(),
            (None, Host::Address(address)) => address.to_string(),
        }
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.transport.scheme())?;
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Name(name) => f.write_str(name)?,
        }
        if self.port != self.transport.default_port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(self.path.as_deref().unwrap_or_default())?;
        match &self.tls_name {
            Some(name) => write!(f, "#{name}"),
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for UpstreamUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_read_and_write_back() {
        for text in [
            "tls://9.9.9.9#dns.quad9.net",
            "tls://9.9.9.9:8853#dns.quad9.net",
            "tls://dns.quad9.net",
            "tls://[2620:fe::fe]#dns.quad9.net",
            "https://dns.quad9.net/dns-query",
            "https://9.9.9.9:5053/other#dns.quad9.net",
            "h3://dns.quad9.net/dns-query",
            "quic://dns.example.org",
            "udp://192.168.1.1",
            "udp://[fd00::1]:5353",
            "tcp://192.168.1.1:5353",
        ] {
            let url: UpstreamUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
        let bare: UpstreamUrl = "192.168.1.1:5353".parse().unwrap();
        assert_eq!(bare.to_string(), "udp://192.168.1.1:5353");
        let v6: UpstreamUrl = "fd00::1".parse().unwrap();
        assert_eq!(v6.to_string(), "udp://[fd00::1]");
        let doh: UpstreamUrl = "https://dns.quad9.net".parse().unwrap();
        assert_eq!(doh.path.as_deref(), Some("/dns-query"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("tsl://9.9.9.9", "has a scheme that is not known: `tsl`"),
            ("tls://", "has no usable host and port"),
            ("tls://9.9.9.9:port", "has no usable host and port"),
            (
                "udp://9.9.9.9/x",
                "has a path, which only https and h3 have",
            ),
            ("udp://9.9.9.9#a.b", "has a TLS name but is not encrypted"),
            ("tls://9.9.9.9#a b", "has a bad TLS name: `a b`"),
        ] {
            let error = text.parse::<UpstreamUrl>().unwrap_err();
            assert_eq!(error.why, why, "{text}");
        }
    }
}
