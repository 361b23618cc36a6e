//! Values with a text form of their own. Each says in its error what was expected.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::policy;
use crate::wire::Name;

/// A span of time, written `"10s"`, `"5m"`, `"24h"` or `"30d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// Whole seconds, rounded down, as a TTL.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0.as_secs()).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A number of bytes, written `"16 MiB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// Deserializes from a text by `read`, or from a whole number by `number` where that has a meaning.
struct TextVisitor<T> {
    expected: &'static str,
    text: fn(&str) -> Result<T, String>,
    number: Option<fn(u64) -> T>,
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text)
            .map_err(|why| E::custom(format!("`{text}` {why}; expected {}", self.expected)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match (self.number, u64::try_from(number)) {
            (Some(read), Ok(number)) => Ok(read(number)),
            _ => Err(E::custom(format!(
                "`{number}` is a number; expected {}",
                self.expected
            ))),
        }
    }
}

macro_rules! from_text {
    ($type:ty, $expected:literal, $number:expr, $read:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextVisitor {
                    expected: $expected,
                    text: $read,
                    number: $number,
                })
            }
        }
    };
}

from_text!(
    Period,
    "a time such as \"10s\", \"5m\", \"24h\" or \"30d\"",
    None,
    |text| match humantime::parse_duration(text) {
        Ok(period) => Ok(Period(period)),
        Err(_) => Err("is not a time".to_owned()),
    }
);

from_text!(
    Size,
    "a size such as \"16 MiB\" or a number of bytes",
    Some(Size),
    |text| match text.parse::<bytesize::ByteSize>() {
        Ok(size) => Ok(Size(size.as_u64())),
        Err(_) => Err("is not a size".to_owned()),
    }
);

/// An address or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

from_text!(
    Network,
    "an address or network such as \"192.168.1.23\" or \"192.168.1.0/24\"",
    None,
    |text| {
        let network = text.parse::<IpNet>().ok();
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        match network.or_else(address) {
            Some(network) => Ok(Network(network)),
            None => Err("is neither".to_owned()),
        }
    }
);

/// A domain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainName(pub Name);

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DomainName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.wire().cmp(other.0.wire())
    }
}

from_text!(
    DomainName,
    "a domain name such as \"lan\" or \"example.org\"",
    None,
    |text| Name::from_text(text)
        .map(DomainName)
        .map_err(|e| e.to_string())
);

/// A name of a rule; it and what lies below. `*` stands for a part of a label.
#[derive(Debug, Clone)]
pub struct Glob {
    /// As written.
    pub text: String,
    /// As matched.
    pub pattern: policy::Pattern,
}

from_text!(
    Glob,
    "a domain name such as \"ads.example.com\", with * for parts of a label",
    None,
    |text| {
        let bare = text.strip_prefix("*.").unwrap_or(text);
        let pattern = if bare.contains('*') {
            policy::Pattern::Glob(policy::Glob::from_text(bare).map_err(|e| e.to_string())?)
        } else {
            let name = Name::from_text(bare).map_err(|e| e.to_string())?;
            if name.labels() == 0 {
                return Err("is the root of all names".to_owned());
            }
            policy::Pattern::Name(name, policy::Scope::Suffix)
        };
        Ok(Glob {
            text: text.to_owned(),
            pattern,
        })
    }
);

/// The address of a list: `http://` or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListUrl(pub reqwest::Url);

from_text!(
    ListUrl,
    "an address such as \"https://example.org/list.txt\"",
    None,
    |text| match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(ListUrl(url)),
        Ok(_) => Err("is neither http nor https".to_owned()),
        Err(error) => Err(format!("is not a URL ({error})")),
    }
);

/// What a local name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalData {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// Another name.
    Alias(Box<Name>),
}

impl<'de> Deserialize<'de> for LocalData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "an address, a list of addresses, or another name";

        struct LocalVisitor;

        impl<'de> Visitor<'de> for LocalVisitor {
            type Value = LocalData;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<LocalData, E> {
                if let Ok(address) = IpAddr::from_str(text) {
                    return Ok(LocalData::Addresses(vec![address]));
                }
                match Name::from_text(text) {
                    Ok(name) if name.labels() > 0 => Ok(LocalData::Alias(Box::new(name))),
                    _ => Err(E::custom(format!(
                        "`{text}` is neither an address nor a name; expected {EXPECTED}"
                    ))),
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<LocalData, A::Error> {
                let mut addresses = Vec::new();
                while let Some(address) = items.next_element::<IpAddr>()? {
                    addresses.push(address);
                }
                if addresses.is_empty() {
                    return Err(A::Error::custom(format!("is empty; expected {EXPECTED}")));
                }
                Ok(LocalData::Addresses(addresses))
            }
        }

        deserializer.deserialize_any(LocalVisitor)
    }
}

/// The name of a machine: letters, digits and hyphens, in lower case, with at least one dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(pub String);

from_text!(
    HostName,
    "a host name such as \"dns.example.org\"",
    None,
    |text| {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let good = name.contains('.') && name.len() <= 180 && name.split('.').all(is_label);
        if good {
            Ok(HostName(name))
        } else {
            Err("is no host name".to_owned())
        }
    }
);

/// One label of a host name, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub String);

from_text!(
    Label,
    "letters, digits and hyphens such as \"annes-redmi-x7k2m9\", 63 at most",
    None,
    |text| {
        let label = text.to_ascii_lowercase();
        if is_label(&label) {
            Ok(Label(label))
        } else {
            Err("is no label of a host name".to_owned())
        }
    }
);

fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
