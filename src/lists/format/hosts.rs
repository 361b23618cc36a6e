//! Hosts files: an address, then the names that are to point to it.

use std::net::IpAddr;

use super::{Context, Format, Line, is_comment, plain};
use crate::policy::{Pattern, Rule, Scope};

pub(super) const FORMAT: Format = Format {
    name: "hosts",
    plain: Scope::Exact,
    is_typical: |line| address_and_names(line).is_some(),
    read,
};

/// The names that every hosts file has for the machine itself; no list means to block them.
const OWN: &[&str] = &[
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "0.0.0.0",
];

fn address_and_names(line: &str) -> Option<(IpAddr, &str)> {
    let line = line.split('#').next()?.trim();
    let (address, names) = line.split_once(char::is_whitespace)?;
    let address = address.split('%').next()?.parse().ok()?;
    Some((address, names.trim_start()))
}

fn read(line: &str, context: &mut Context) -> Line {
    let text = line.split('#').next().unwrap_or_default().trim();
    if text.is_empty() || is_comment(text) {
        return Line::Blank;
    }
    let Some((_, names)) = address_and_names(text) else {
        return Line::Junk("is not an address and a name".to_owned());
    };
    let mut rules = Vec::new();
    for name in names.split_whitespace().filter(|name| !OWN.contains(name)) {
        match plain(name, context.plain) {
            Ok(pattern @ Pattern::Name(..)) => rules.push(Rule::new(pattern)),
            Ok(_) => return Line::Junk(format!("`{name}` is not a name")),
            Err(why) => return Line::Junk(format!("`{name}` {why}")),
        }
    }
    if rules.is_empty() {
        Line::Blank
    } else {
        Line::Rules(rules)
    }
}
