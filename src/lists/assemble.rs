//! All lists into one rule set.

use serde::{Deserialize, Serialize};

use super::cached::{CacheFolder, CopyInfo};
use super::download::{check, now};
use super::parse::{ParseReport, parse};
use super::{CATALOGUE, ListSpec, OWN_RULES, Source, catalogue};
use crate::policy::{Action, ListInfo, Pattern, Rule, RuleSet, RuleSetBuilder, Tier};

/// How a list fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListStatus {
    /// Its name.
    pub name: String,
    /// The file or address; `built in` for the catalogue, `configuration` for the owner's rules.
    pub source: String,
    /// What is done with its names; `None` where each rule or category says.
    pub action: Option<Action>,
    /// What was read.
    #[serde(flatten)]
    pub report: ParseReport,
    /// When the copy in use was fetched, in seconds since 1970; `None` for files and before the first
    /// download.
    pub fetched: Option<i64>,
    /// When the server was last asked with success, in seconds since 1970.
    pub checked: Option<i64>,
    /// Why the list is missing or an older copy of it is used.
    pub error: Option<String>,
}

/// What the owner asks for, besides the lists.
#[derive(Debug, Clone, Default)]
pub struct OwnRules {
    /// The patterns, with what is done about each.
    pub rules: Vec<(Pattern, Action)>,
}

/// A rule set and how its lists fared.
pub struct Assembled {
    /// The rules.
    pub rules: RuleSet,
    /// The lists, in order of precedence.
    pub lists: Vec<ListStatus>,
}

/// Reads and compiles everything: the owner's rules, the lists, the catalogue.
///
/// A list that cannot be read or makes no sense does not stop the others: its last good copy is used, and
/// its status says why. URL lists are read from their copies; [`download`](super::download) renews those.
///
/// # Errors
///
/// A sentence, when regular expressions together grow too large, or the catalogue in the binary is broken.
pub fn assemble(
    own: &OwnRules,
    specs: &[ListSpec],
    with_catalogue: bool,
    folder: &CacheFolder,
) -> Result<Assembled, String> {
    let mut builder = RuleSetBuilder::default();
    let mut lists = vec![add_own(own, &mut builder)];
    for spec in specs {
        lists.push(add_list(spec, folder, &mut builder));
    }
    if with_catalogue {
        let entries = catalogue::add_to(&mut builder)?;
        lists.push(built_in(CATALOGUE, "built in", entries));
    }
    let rules = builder.build().map_err(|error| error.to_string())?;
    Ok(Assembled { rules, lists })
}

fn built_in(name: &str, source: &str, rules: usize) -> ListStatus {
    ListStatus {
        name: name.to_owned(),
        source: source.to_owned(),
        action: None,
        report: ParseReport {
            format: source.to_owned(),
            rules,
            ..ParseReport::default()
        },
        fetched: None,
        checked: None,
        error: None,
    }
}

fn add_own(own: &OwnRules, builder: &mut RuleSetBuilder) -> ListStatus {
    builder.list(ListInfo {
        name: OWN_RULES.to_owned(),
        tier: Tier::Own,
        category: None,
        vendor: None,
    });
    for (pattern, action) in &own.rules {
        builder.add(Rule::new(pattern.clone()), *action);
    }
    built_in(OWN_RULES, "configuration", own.rules.len())
}

fn add_list(spec: &ListSpec, folder: &CacheFolder, builder: &mut RuleSetBuilder) -> ListStatus {
    let mut status = ListStatus {
        name: spec.name.clone(),
        source: spec.source.to_string(),
        action: Some(spec.action),
        report: ParseReport::default(),
        fetched: None,
        checked: None,
        error: None,
    };
    builder.list(ListInfo {
        name: spec.name.clone(),
        tier: Tier::List,
        category: spec.category,
        vendor: spec.vendor.clone(),
    });
    let (bytes, info) = match read(spec, folder) {
        Ok(found) => found,
        Err(why) => {
            let copy = folder.read(&spec.source);
            let kept = if copy.is_some() {
                "; its last good copy is used"
            } else {
                ""
            };
            status.error = Some(format!("{why}{kept}"));
            match copy {
                Some((bytes, info)) => (bytes, Some(info)),
                None => return status,
            }
        }
    };
    status.fetched = info.as_ref().map(|info| info.fetched);
    status.checked = info.as_ref().map(|info| info.checked);
    status.report = parse(&bytes, spec.format, spec.subdomains, |rule| {
        builder.add(rule, spec.action)
    });
    status
}

/// The bytes of a list: a file as it is now, if it makes sense, or the copy of a URL list.
fn read(spec: &ListSpec, folder: &CacheFolder) -> Result<(Vec<u8>, Option<CopyInfo>), String> {
    match &spec.source {
        Source::File(path) => {
            let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
            // An empty file is a list that the owner has not filled yet.
            if !bytes.is_empty() {
                check(&bytes, spec)?;
                keep_copy(spec, &bytes, folder);
            }
            Ok((bytes, None))
        }
        Source::Url(_) => match folder.read(&spec.source) {
            Some((bytes, info)) => Ok((bytes, Some(info))),
            None => Err("has not been downloaded yet".to_owned()),
        },
    }
}

/// Keeps a copy of a good file. Without one a later mistake in the file costs the whole list, no more, so
/// a full disk is no reason to stop.
fn keep_copy(spec: &ListSpec, bytes: &[u8], folder: &CacheFolder) {
    let unchanged = folder
        .read(&spec.source)
        .is_some_and(|(old, _)| old == bytes);
    if unchanged {
        return;
    }
    let info = CopyInfo {
        source: spec.source.to_string(),
        fetched: now(),
        checked: now(),
        ..CopyInfo::default()
    };
    if let Err(error) = folder.write(&spec.source, bytes, &info) {
        tracing::warn!(list = %spec.name, "the last good copy cannot be kept: {error}");
    }
}
