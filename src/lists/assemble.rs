//! All lists into one rule set.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::cached::{CacheFolder, CopyInfo, digest_of, digest_of_file};
use super::download::{check, now};
use super::parse::{ParseReport, parse};
use super::{CATALOGUE, ListSpec, OWN_RULES, Source, catalogue};
use crate::policy::{
    Action, BuildError, Digest, ListInfo, Pattern, Rule, RuleSet, RuleSetBuilder, Tier,
};

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

/// So many names and more are compiled into a file.
const WORTH_A_FILE: usize = 10_000;

/// Reads and compiles everything: the owner's rules, the lists, the catalogue.
///
/// A list that cannot be read or makes no sense does not stop the others: its last good copy is used, and
/// its status says why. URL lists are read from their copies; [`download`](super::download) renews those.
/// When nothing has changed since the last time, and there is much of it, what was compiled then is used.
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
    let found: Vec<Found> = specs.iter().map(|spec| find(spec, folder)).collect();
    let digest = digest(own, specs, with_catalogue, &found);
    let mut lists: Vec<ListStatus> = specs.iter().zip(&found).map(status).collect();
    if let Some(rules) = reuse(&digest, with_catalogue, folder, &mut lists)? {
        return Ok(complete(rules, lists, own, with_catalogue));
    }
    let mut builder = RuleSetBuilder::new(folder.make().ok());
    add_own(own, &mut builder);
    for ((spec, found), status) in specs.iter().zip(&found).zip(&mut lists) {
        add_list(spec, found, status, &mut builder);
    }
    if with_catalogue {
        catalogue::add_to(&mut builder)?;
    }
    let good = lists.iter().all(|list| list.error.is_none());
    if good && builder.names() >= WORTH_A_FILE {
        let reports: Vec<&ParseReport> = lists.iter().map(|list| &list.report).collect();
        let notes = serde_json::json!(reports);
        match builder.build_file(&folder.compiled(), &digest, notes) {
            Ok(rules) => return Ok(complete(rules, lists, own, with_catalogue)),
            Err(BuildError::Regex(error)) => return Err(error.to_string()),
            Err(error) => tracing::warn!("the lists are kept in memory: {error}"),
        }
    }
    let rules = builder.build().map_err(|error| error.to_string())?;
    Ok(complete(rules, lists, own, with_catalogue))
}

/// What was compiled last time, if nothing has changed since; then the reports are those of that time, too.
fn reuse(
    digest: &Digest,
    with_catalogue: bool,
    folder: &CacheFolder,
    lists: &mut [ListStatus],
) -> Result<Option<RuleSet>, String> {
    if lists.iter().any(|list| list.error.is_some()) {
        return Ok(None);
    }
    let path = folder.compiled();
    if !path.exists() {
        return Ok(None);
    }
    let mut entries = Vec::new();
    if with_catalogue {
        for (_, tier) in catalogue::tiers()? {
            entries.extend(tier.into_iter().map(|(entry, _)| entry));
        }
    }
    let (rules, notes) = match RuleSet::open(&path, digest, entries) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!("what was compiled last time is not used: {error}");
            return Ok(None);
        }
    };
    let reports: Vec<ParseReport> = match serde_json::from_value(notes) {
        Ok(reports) => reports,
        Err(_) => return Ok(None),
    };
    if reports.len() != lists.len() {
        return Ok(None);
    }
    for (list, report) in lists.iter_mut().zip(reports) {
        list.report = report;
    }
    Ok(Some(rules))
}

/// Puts the owner's rules first and the catalogue last, and counts what stood there twice.
fn complete(
    rules: RuleSet,
    mut lists: Vec<ListStatus>,
    own: &OwnRules,
    with_catalogue: bool,
) -> Assembled {
    lists.insert(0, built_in(OWN_RULES, "configuration", own.rules.len()));
    if with_catalogue {
        lists.push(built_in(CATALOGUE, "built in", rules.entries().len()));
    }
    for (list, duplicates) in lists.iter_mut().zip(rules.duplicates()) {
        list.report.count_duplicates(*duplicates);
    }
    Assembled { rules, lists }
}

/// Everything that a rule set is made from. This program is part of it: another one may read lists another
/// way.
fn digest(own: &OwnRules, specs: &[ListSpec], with_catalogue: bool, found: &[Found]) -> Digest {
    let mut context = Context::new(&SHA256);
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let program = program.map(|program| (program.len(), program.modified().ok()));
    let lists: Vec<_> = found.iter().map(|found| found.digest).collect();
    let all = format!(
        "{} {:?} {with_catalogue} {own:?} {specs:?} {lists:?}",
        env!("CARGO_PKG_VERSION"),
        program.ok()
    );
    context.update(all.as_bytes());
    digest_of(context)
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

fn add_own(own: &OwnRules, builder: &mut RuleSetBuilder) {
    builder.list(ListInfo {
        name: OWN_RULES.to_owned(),
        tier: Tier::Own,
        category: None,
        vendor: None,
    });
    for (pattern, action) in &own.rules {
        builder.add(Rule::new(pattern.clone()), *action);
    }
}

fn status((spec, found): (&ListSpec, &Found)) -> ListStatus {
    ListStatus {
        name: spec.name.clone(),
        source: spec.source.to_string(),
        action: Some(spec.action),
        report: ParseReport::default(),
        fetched: found.info.as_ref().map(|info| info.fetched),
        checked: found.info.as_ref().map(|info| info.checked),
        error: found.error.clone(),
    }
}

fn add_list(spec: &ListSpec, found: &Found, status: &mut ListStatus, builder: &mut RuleSetBuilder) {
    builder.list(ListInfo {
        name: spec.name.clone(),
        tier: Tier::List,
        category: spec.category,
        vendor: spec.vendor.clone(),
    });
    let Some(path) = &found.path else {
        return;
    };
    let parsed = File::open(path).and_then(|file| {
        parse(BufReader::new(file), spec.format, spec.subdomains, |rule| {
            builder.add(rule, spec.action);
        })
    });
    match parsed {
        Ok(report) => status.report = report,
        Err(error) => status.error = Some(format!("cannot be read: {error}")),
    }
}

/// A list as it was found.
#[derive(Default)]
struct Found {
    /// Where to read it; `None` if there is nothing to read.
    path: Option<PathBuf>,
    digest: Digest,
    /// What is known about a copy of a URL list.
    info: Option<CopyInfo>,
    error: Option<String>,
}

/// Finds a list: a file as it is now, if it makes sense, or the last good copy.
fn find(spec: &ListSpec, folder: &CacheFolder) -> Found {
    let outcome = match &spec.source {
        Source::File(path) => find_file(spec, path, folder),
        Source::Url(_) => match folder.copy(&spec.source) {
            Some((path, info)) => Ok(Found {
                digest: digest_of_file(&path).unwrap_or_default(),
                path: Some(path),
                info: Some(info),
                error: None,
            }),
            None => Err("has not been downloaded yet".to_owned()),
        },
    };
    outcome.unwrap_or_else(|why| match folder.copy(&spec.source) {
        Some((path, info)) => Found {
            path: Some(path),
            digest: info.digest,
            info: Some(info),
            error: Some(format!("{why}; its last good copy is used")),
        },
        None => Found {
            error: Some(why),
            ..Found::default()
        },
    })
}

/// A file is read from its copy, which nobody changes meanwhile. Without a folder to keep one it is read
/// itself; then a later mistake in it costs the whole list, no more, so that a full disk is no reason to stop.
fn find_file(spec: &ListSpec, path: &Path, folder: &CacheFolder) -> Result<Found, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unread)?;
    let found = |path: &Path, digest| Found {
        path: Some(path.to_owned()),
        digest,
        ..Found::default()
    };
    let digest = digest_of_file(path).map_err(unread)?;
    // An empty file is a list that the owner has not filled yet.
    if file.metadata().map_err(unread)?.len() == 0 {
        return Ok(found(path, digest));
    }
    if let Some((copy, info)) = folder
        .copy(&spec.source)
        .filter(|(_, info)| info.digest == digest)
    {
        return Ok(found(&copy, info.digest));
    }
    let mut file = BufReader::new(file);
    let copied = folder.draft().and_then(|mut draft| {
        io::copy(&mut file, &mut draft)?;
        Ok(draft)
    });
    let draft = match copied {
        Ok(draft) => draft,
        Err(error) => {
            tracing::warn!(list = %spec.name, "no copy can be kept: {error}");
            let file = File::open(path).map_err(unread)?;
            check(BufReader::new(file), spec)?;
            return Ok(found(path, digest));
        }
    };
    check(draft.reader().map_err(unread)?, spec)?;
    let info = CopyInfo {
        source: spec.source.to_string(),
        fetched: now(),
        checked: now(),
        ..CopyInfo::default()
    };
    match folder.keep(draft, &spec.source, info) {
        Ok((copy, info)) => Ok(found(&copy, info.digest)),
        Err(error) => {
            tracing::warn!(list = %spec.name, "no copy can be kept: {error}");
            Ok(found(path, digest))
        }
    }
}
