//! Writing the catalogue out for other resolvers.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::policy::{Action, Category, Entry, Policy};

/// A format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One name a line.
    Domains,
    /// A hosts file that points names to `0.0.0.0`.
    Hosts,
    /// AdBlock style, patterns included.
    Adblock,
    /// A response policy zone for unbound, BIND, Knot Resolver and PowerDNS.
    Rpz,
}

/// Writes the entries for which `policy` asks for `action`.
///
/// Only AdBlock style can say patterns. The others get every name that a pattern is known to stand for,
/// and hosts files, which do not cover what lies below a name, also those below a plain entry.
pub fn export(entries: &[Entry], policy: &Policy, action: Action, format: ExportFormat) -> String {
    let chosen = entries
        .iter()
        .filter(|entry| entry.category != Category::Unclassified)
        .filter(|entry| policy.action(entry.category) == action);
    let mut patterns = BTreeSet::new();
    let mut names = BTreeSet::new();
    for entry in chosen {
        patterns.insert(entry.pattern.as_str());
        if !entry.pattern.contains('*') {
            names.insert(entry.pattern.as_str());
        }
        names.extend(entry.known.iter().map(String::as_str));
    }
    let mut out = String::new();
    match format {
        ExportFormat::Domains => lines(&mut out, "#", uncovered(&names), |name| name.to_owned()),
        ExportFormat::Hosts => lines(&mut out, "#", names, |name| format!("0.0.0.0 {name}")),
        ExportFormat::Adblock => lines(&mut out, "!", patterns, |name| format!("||{name}^")),
        ExportFormat::Rpz => {
            out.push_str("$TTL 300\n@ IN SOA localhost. nobody.invalid. 1 3600 600 86400 300\n@ IN NS localhost.\n");
            lines(&mut out, ";", uncovered(&names), |name| {
                format!("{name} IN CNAME .\n*.{name} IN CNAME .")
            });
        }
    }
    out
}

/// The names that no other name of the set covers.
fn uncovered<'n>(names: &BTreeSet<&'n str>) -> BTreeSet<&'n str> {
    let covered = |name: &str| {
        let parents = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        parents.into_iter().any(|parent| names.contains(parent))
    };
    names
        .iter()
        .copied()
        .filter(|name| !covered(name))
        .collect()
}

fn lines(out: &mut String, comment: &str, names: BTreeSet<&str>, line: impl Fn(&str) -> String) {
    let _ = writeln!(
        out,
        "{comment} taciturn {}: vendor telemetry of phones, {} rules",
        env!("CARGO_PKG_VERSION"),
        names.len()
    );
    for name in names {
        let _ = writeln!(out, "{}", line(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::parse::parse;
    use crate::lists::{Format, catalogue};
    use crate::policy::{ListInfo, RuleSetBuilder, Tier};
    use crate::wire::Name;

    /// Every format, read back by our own parser, blocks every known name that the catalogue blocks, and
    /// nothing that must resolve.
    #[test]
    fn what_is_exported_blocks_what_we_block() {
        let entries: Vec<Entry> = catalogue::entries()
            .unwrap()
            .into_iter()
            .map(|(e, _)| e)
            .collect();
        let policy = Policy::default();
        for (format, name) in [
            (ExportFormat::Domains, "domains"),
            (ExportFormat::Hosts, "hosts"),
            (ExportFormat::Adblock, "adblock"),
            (ExportFormat::Rpz, "rpz"),
        ] {
            let text = export(&entries, &policy, Action::Block, format);
            let mut builder = RuleSetBuilder::default();
            builder.list(ListInfo {
                name: name.to_owned(),
                tier: Tier::List,
                category: None,
                vendor: None,
            });
            let report = parse(text.as_bytes(), None, None, |rule| {
                builder.add(rule, Action::Block);
            })
            .unwrap();
            assert_eq!(report.format, name);
            assert_eq!(report.junk, 0, "{name}: {:?}", report.junk_lines);
            assert_eq!(Format::by_name(name).unwrap().name(), name);
            let set = builder.build().unwrap();
            let decide = |text: &str| set.decide(&policy, &Name::from_text(text).unwrap()).action;
            for entry in &entries {
                match policy.action(entry.category) {
                    Action::Block => {
                        for known in &entry.known {
                            assert_eq!(decide(known), Action::Block, "{name}: {known}");
                        }
                    }
                    _ if entry.category == Category::MustResolve => {
                        assert_eq!(
                            decide(&entry.pattern),
                            Action::Allow,
                            "{name}: {}",
                            entry.pattern
                        );
                    }
                    _ => {}
                }
            }
        }
    }
}
