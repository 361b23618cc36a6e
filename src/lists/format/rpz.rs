//! Response policy zones: zone files whose records say what to do with a name
//! (draft-vixie-dnsop-dns-rpz).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Context, Format, Line};
use crate::policy::{Pattern, Rule, Scope};
use crate::wire::Name;

pub(super) const FORMAT: Format = Format {
    name: "rpz",
    plain: Scope::Exact,
    is_typical,
    read,
};

fn is_typical(line: &str) -> bool {
    let upper = line.to_ascii_uppercase();
    upper.starts_with("$TTL")
        || upper.starts_with("$ORIGIN")
        || upper.contains("RPZ-PASSTHRU.")
        || upper.split_whitespace().any(|word| word == "SOA")
        || record(line)
            .is_some_and(|(_, _, kind, data)| kind == "CNAME" && matches!(data, "." | "*."))
}

/// Splits a record into whether it has an owner, the owner, the type in upper case, and the data.
fn record(line: &str) -> Option<(bool, &str, String, &str)> {
    let line = line.split(';').next()?.trim_end();
    let has_owner = !line.starts_with([' ', '\t']);
    let mut rest = line.trim_start();
    let mut next = || {
        let (word, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = tail.trim_start();
        (!word.is_empty()).then_some(word)
    };
    let owner = if has_owner { next()? } else { "" };
    loop {
        let word = next()?.to_ascii_uppercase();
        // TTL (`3600`, `1h`) and class may stand before the type, in any order.
        if word == "IN" || word.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        return Some((has_owner, owner, word, rest.trim()));
    }
}

fn read(line: &str, context: &mut Context) -> Line {
    let bare = line.split(';').next().unwrap_or_default();
    if bare.trim().is_empty() || line.starts_with('#') {
        return Line::Blank;
    }
    if let Some(origin) = directive(bare, "$ORIGIN") {
        return match Name::from_text(origin) {
            Ok(name) => {
                context.origin = name;
                Line::Blank
            }
            Err(why) => Line::Junk(format!("$ORIGIN {why}")),
        };
    }
    if bare.starts_with('$') {
        return match directive(bare, "$TTL") {
            Some(_) => Line::Blank,
            None => Line::Junk("is a directive that is not supported".to_owned()),
        };
    }
    // The second and later lines of an SOA in parentheses.
    if bare
        .trim()
        .trim_end_matches(')')
        .trim()
        .chars()
        .all(|c| c.is_ascii_digit())
    {
        return Line::Blank;
    }
    let Some((has_owner, owner, kind, data)) = record(bare) else {
        return Line::Junk("is not a record".to_owned());
    };
    if matches!(kind.as_str(), "SOA" | "NS") {
        // An apex record tells the zone's name when no $ORIGIN did.
        if has_owner && owner != "@" && owner.ends_with('.') && context.origin.labels() == 0 {
            context.origin = Name::from_text(owner).unwrap_or(Name::ROOT);
        }
        return Line::Blank;
    }
    if !has_owner {
        // A further record of an owner that was taken already.
        return Line::Blank;
    }
    let allow = match (kind.as_str(), data.to_ascii_lowercase().as_str()) {
        ("CNAME", "rpz-passthru.") => true,
        ("CNAME", "rpz-tcp-only.") => {
            return Line::Junk("asks for TCP only, which is not supported".to_owned());
        }
        // NXDOMAIN, NODATA, DROP and walled gardens: all keep the name from its true answer.
        ("CNAME" | "A" | "AAAA", _) => false,
        _ => return Line::Blank,
    };
    match trigger(owner, context) {
        Ok(Some(pattern)) => Line::one(Rule::new(pattern).allowing(allow)),
        Ok(None) => Line::Blank,
        Err(why) => Line::Junk(why),
    }
}

fn directive<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let head = line.get(..name.len())?;
    let rest = &line[name.len()..];
    (head.eq_ignore_ascii_case(name) && rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

/// What a record's owner asks to look for: a name, what lies below one, or an address in answers.
fn trigger(owner: &str, context: &Context) -> Result<Option<Pattern>, String> {
    if owner == "@" {
        return Ok(None);
    }
    let (below, owner) = match owner.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, owner),
    };
    let owner = relative(owner, context)?;
    let labels: Vec<&str> = owner.split('.').collect();
    if let Some(at) = labels.iter().position(|label| label.starts_with("rpz-")) {
        return match labels[at] {
            "rpz-ip" => network(&labels[..at]).map(|network| Some(Pattern::Network(network))),
            kind => Err(format!("has the trigger {kind}, which is not supported")),
        };
    }
    let name = Name::from_text(&owner).map_err(|error| error.to_string())?;
    let scope = match (below, context.plain) {
        (true, _) => Scope::Below,
        (false, scope) => scope,
    };
    match name.labels() {
        0 => Err("is the root of all names".to_owned()),
        _ => Ok(Some(Pattern::Name(name, scope))),
    }
}

/// The owner without the zone's own name at its end.
fn relative(owner: &str, context: &Context) -> Result<String, String> {
    let Some(absolute) = owner.strip_suffix('.') else {
        return Ok(owner.to_owned());
    };
    let name = Name::from_text(absolute).map_err(|error| error.to_string())?;
    let origin = &context.origin;
    if origin.labels() > 0 && name.is_within(origin) {
        let text = name.to_string();
        let cut = text.len() - origin.to_string().len();
        return Ok(text[..cut].trim_end_matches('.').to_owned());
    }
    Ok(absolute.to_owned())
}

/// `24.0.2.0.192` is 192.0.2.0/24; `128.1.zz.db8.2001` is 2001:db8::1/128.
fn network(labels: &[&str]) -> Result<IpNet, String> {
    let bad = || "is not an rpz-ip network".to_owned();
    let (length, address) = labels.split_first().ok_or_else(bad)?;
    let length: u8 = length.parse().map_err(|_| bad())?;
    let reversed: Vec<&str> = address.iter().rev().copied().collect();
    let address: IpAddr = match reversed.join(".").parse::<Ipv4Addr>() {
        Ok(v4) => v4.into(),
        Err(_) => {
            let text = match reversed.iter().position(|label| *label == "zz") {
                Some(at) => format!(
                    "{}::{}",
                    reversed[..at].join(":"),
                    reversed[at + 1..].join(":")
                ),
                None => reversed.join(":"),
            };
            text.parse::<Ipv6Addr>().map_err(|_| bad())?.into()
        }
    };
    IpNet::new(address, length).map_err(|_| bad())
}
