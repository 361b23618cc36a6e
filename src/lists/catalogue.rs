//! The catalogue that the binary carries: `blocklists/*.toml`, one file per vendor.

use std::sync::Arc;

use serde::Deserialize;

use crate::policy::{Category, Entry, Glob, ListInfo, Pattern, RuleSetBuilder, Scope, Tier};
use crate::wire::Name;

use super::CATALOGUE;

/// The vendor files, by name.
pub const FILES: [(&str, &str); 5] = [
    ("xiaomi", include_str!("../../blocklists/xiaomi.toml")),
    ("oppo", include_str!("../../blocklists/oppo.toml")),
    ("oneplus", include_str!("../../blocklists/oneplus.toml")),
    (
        "oppo-oneplus",
        include_str!("../../blocklists/oppo-oneplus.toml"),
    ),
    ("bypass", include_str!("../../blocklists/bypass.toml")),
];

/// The names that have to answer.
pub const MUST_RESOLVE: &str = include_str!("../../blocklists/must-resolve.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorFile {
    vendor: String,
    zones: Vec<String>,
    #[serde(default)]
    entry: Vec<VendorEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorEntry {
    #[serde(rename = "match")]
    pattern: String,
    category: Category,
    vendor: Option<String>,
    evidence: String,
    sources: Vec<String>,
    breaks: String,
    #[serde(default)]
    known: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MustResolveFile {
    entry: Vec<MustResolveEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MustResolveEntry {
    name: String,
    vendor: String,
    breaks: String,
    sources: Vec<String>,
}

/// Reads the whole catalogue.
///
/// # Errors
///
/// Says which file has which mistake. The files are part of the binary and a test reads them, so this
/// fails only while somebody edits them.
pub fn entries() -> Result<Vec<(Entry, Pattern)>, String> {
    let mut all = Vec::new();
    for (file, text) in FILES {
        vendor_file(text, &mut all).map_err(|error| format!("blocklists/{file}.toml: {error}"))?;
    }
    must_resolve(&mut all).map_err(|error| format!("blocklists/must-resolve.toml: {error}"))?;
    Ok(all)
}

fn vendor_file(text: &str, all: &mut Vec<(Entry, Pattern)>) -> Result<(), String> {
    let file: VendorFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let vendor: Arc<str> = file.vendor.into();
    for zone in file.zones {
        let pattern = pattern(&zone)?;
        let entry = Entry {
            evidence: format!("No entry knows this name; {zone} is a zone of this maker."),
            pattern: zone,
            vendor: vendor.clone(),
            category: Category::Unclassified,
            sources: Vec::new(),
            breaks: "Not known.".to_owned(),
            known: Vec::new(),
        };
        all.push((entry, pattern));
    }
    for entry in file.entry {
        let pattern = pattern(&entry.pattern)?;
        let entry = Entry {
            vendor: entry.vendor.map_or_else(|| vendor.clone(), Arc::from),
            pattern: entry.pattern,
            category: entry.category,
            evidence: entry.evidence,
            sources: entry.sources,
            breaks: entry.breaks,
            known: entry.known,
        };
        all.push((entry, pattern));
    }
    Ok(())
}

fn must_resolve(all: &mut Vec<(Entry, Pattern)>) -> Result<(), String> {
    let file: MustResolveFile = toml::from_str(MUST_RESOLVE).map_err(|error| error.to_string())?;
    for entry in file.entry {
        let name = Name::from_text(&entry.name).map_err(|e| format!("{} {e}", entry.name))?;
        let entry = Entry {
            pattern: entry.name,
            vendor: entry.vendor.into(),
            category: Category::MustResolve,
            evidence: "Has to answer.".to_owned(),
            sources: entry.sources,
            breaks: entry.breaks,
            known: Vec::new(),
        };
        all.push((entry, Pattern::Name(name, Scope::Exact)));
    }
    Ok(())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if text.contains('*') {
        let glob = Glob::from_text(text).map_err(|error| format!("{text} {error}"))?;
        return Ok(Pattern::Glob(glob));
    }
    let name = Name::from_text(text).map_err(|error| format!("{text} {error}"))?;
    Ok(Pattern::Name(name, Scope::Suffix))
}

/// A tier of the catalogue with its entries.
pub type TierEntries = (Tier, Vec<(Entry, Pattern)>);

/// The entries tier by tier, in the order in which a rule set has them: its zones one tier below the rest.
pub fn tiers() -> Result<[TierEntries; 2], String> {
    let (zones, others) = entries()?
        .into_iter()
        .partition(|(entry, _)| entry.category == Category::Unclassified);
    Ok([(Tier::Zone, zones), (Tier::Catalogue, others)])
}

/// Adds the catalogue to a rule set. Returns the number of entries.
pub fn add_to(builder: &mut RuleSetBuilder) -> Result<usize, String> {
    let mut count = 0;
    for (tier, entries) in tiers()? {
        builder.list(ListInfo {
            name: CATALOGUE.to_owned(),
            tier,
            category: None,
            vendor: None,
        });
        count += entries.len();
        for (entry, pattern) in entries {
            builder.entry(entry, pattern);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, Policy, RuleSet};

    fn catalogue() -> RuleSet {
        let mut builder = RuleSetBuilder::default();
        add_to(&mut builder).unwrap();
        builder.build().unwrap()
    }

    fn decide(set: &RuleSet, text: &str) -> (Action, Option<Category>) {
        let name = Name::from_text(text).unwrap();
        let verdict = set.decide(&Policy::default(), &name);
        (
            verdict.action,
            verdict.hit.and_then(|hit| set.category(&hit)),
        )
    }

    #[test]
    fn nothing_that_must_resolve_is_blocked() {
        let set = catalogue();
        let file: MustResolveFile = toml::from_str(MUST_RESOLVE).unwrap();
        assert!(file.entry.len() > 150);
        for entry in file.entry {
            let name = Name::from_text(&entry.name).unwrap();
            // Not even without the exception: no pattern may reach such a name or a parent of it.
            for hit in set.explain(&Policy::default(), &name) {
                let action = set.action(&Policy::default(), hit.effect);
                let text = set.rule_text(&hit, &name);
                assert_ne!(action, Action::Block, "{name} by {text}");
            }
        }
    }

    #[test]
    fn siblings_that_nobody_listed_are_caught() {
        let set = catalogue();
        for (text, category) in [
            ("sdkconfig.ad.latam.xiaomi.com", Category::Ads),
            ("data.mistat.br.xiaomi.com", Category::Telemetry),
            ("tracking.sg.miui.com", Category::Telemetry),
            ("adx-tr.ads.heytapmobile.com", Category::Ads),
            ("obus-dc29999-sg.heytapmobile.com", Category::Telemetry),
            ("data-my-ads.realmemobile.com", Category::Ads),
            ("eap-log-us.allawnos.com", Category::Crash),
        ] {
            assert_eq!(
                decide(&set, text),
                (Action::Block, Some(category)),
                "{text}"
            );
        }
        for text in [
            "cloudconf-app-zw.heytapmobile.com",
            "mdp-appconf-zw.heytapdl.com",
            "conn-service-us-99.allawnos.com",
        ] {
            assert_eq!(
                decide(&set, text),
                (Action::Record, Some(Category::Config)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_no_entry_knows_is_unclassified() {
        let set = catalogue();
        let unclassified = (Action::Record, Some(Category::Unclassified));
        assert_eq!(decide(&set, "brand-new.heytapmobile.com"), unclassified);
        assert_eq!(decide(&set, "brand-new.miui.com"), unclassified);
        assert_eq!(decide(&set, "example.com"), (Action::Allow, None));
    }

    #[test]
    fn push_resolvers_are_recorded_and_the_canary_blocked() {
        let set = catalogue();
        assert_eq!(
            decide(&set, "httpdns.push.heytapmobi.com"),
            (Action::Record, Some(Category::Bypass))
        );
        assert_eq!(
            decide(&set, "use-application-dns.net"),
            (Action::Block, Some(Category::Canary))
        );
    }

    #[test]
    fn every_pattern_reaches_the_names_it_was_made_from() {
        let set = catalogue();
        for (entry, _) in entries().unwrap() {
            for known in &entry.known {
                let name = Name::from_text(known).unwrap();
                let hits = set.explain(&Policy::default(), &name);
                let reached = hits.iter().any(|hit| set.entry(hit) == Some(&entry));
                assert!(reached, "{} does not reach {known}", entry.pattern);
            }
        }
    }

    #[test]
    fn every_entry_says_why() {
        for (entry, _) in entries().unwrap() {
            assert!(entry.evidence.ends_with('.'), "{}", entry.pattern);
            assert!(entry.breaks.ends_with('.'), "{}", entry.pattern);
            assert!(!entry.vendor.is_empty(), "{}", entry.pattern);
        }
    }
}
