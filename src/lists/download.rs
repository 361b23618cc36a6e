//! Fetching lists: conditional requests, a limit on size and time, and no trust in what comes.

use std::io::{BufRead, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};

use super::cached::{CacheFolder, CopyInfo};
use super::parse::parse;
use super::{ListSpec, Source};

/// Limits of a download.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, after decompression.
    pub size: u64,
    /// Time, from the first byte sent to the last received.
    pub time: Duration,
}

/// What a refresh came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// There is a new copy with so many rules.
    New(usize),
    /// The copy on disk is current.
    Unchanged,
}

/// Renews the copy of a URL list. `progress` hears of bytes received so far and, when the server says, in
/// total.
///
/// # Errors
///
/// Says in a sentence what went wrong: the server, the limits, or a text that is no list. The copy on disk
/// is then what it was.
pub async fn refresh(
    client: &reqwest::Client,
    spec: &ListSpec,
    folder: &CacheFolder,
    limits: Limits,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<Refreshed, String> {
    let Source::Url(url) = &spec.source else {
        return Ok(Refreshed::Unchanged);
    };
    let known = folder.info(&spec.source);
    let mut request = client.get(url.clone()).timeout(limits.time);
    if let Some(info) = &known {
        if let Some(etag) = &info.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(date) = &info.last_modified {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
    }
    let mut response = request.send().await.map_err(|error| describe(&error))?;
    if let (StatusCode::NOT_MODIFIED, Some(mut info)) = (response.status(), known) {
        info.checked = now();
        save(folder.write_info(&spec.source, &info))?;
        return Ok(Refreshed::Unchanged);
    }
    if response.status() != StatusCode::OK {
        return Err(format!("the server answered {}", response.status()));
    }
    let too_large = || {
        format!(
            "it is larger than the {} bytes that [lists] max_size allows",
            limits.size
        )
    };
    let total = response.content_length();
    if total.is_some_and(|total| total > limits.size) {
        return Err(too_large());
    }
    let header = |name| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let info = CopyInfo {
        source: spec.source.to_string(),
        etag: header(ETAG),
        last_modified: header(LAST_MODIFIED),
        fetched: now(),
        checked: now(),
        ..CopyInfo::default()
    };
    let mut draft = save(folder.draft())?;
    let mut received = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        received += chunk.len() as u64;
        if received > limits.size {
            return Err(too_large());
        }
        save(draft.write_all(&chunk))?;
        progress(received, total);
    }
    let rules = check(save(draft.reader())?, spec)?;
    save(folder.keep(draft, &spec.source, info))?;
    Ok(Refreshed::New(rules))
}

/// Whether a text can be taken for a list: rules in it, more of them than junk, and no web page. Returns
/// the number of rules.
pub fn check(mut list: impl BufRead, spec: &ListSpec) -> Result<usize, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let mut head = Vec::new();
    list.by_ref()
        .take(512)
        .read_to_end(&mut head)
        .map_err(unread)?;
    let text = String::from_utf8_lossy(&head).to_lowercase();
    if text.contains("<html") || text.contains("<!doctype") {
        return Err("it is a web page, not a list".to_owned());
    }
    let report = parse(head.chain(list), spec.format, spec.subdomains, |_| {});
    let report = report.map_err(unread)?;
    if report.rules == 0 {
        return Err("it has no rule that can be used".to_owned());
    }
    if report.junk > report.rules {
        return Err(format!(
            "most of its lines cannot be used ({} of {}), the first is line {}: {}",
            report.junk,
            report.junk + report.rules,
            report.junk_lines[0].line,
            report.junk_lines[0].why
        ));
    }
    Ok(report.rules)
}

fn save<T>(outcome: std::io::Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("its copy cannot be written to disk: {error}"))
}

/// The innermost cause says what happened; the outer ones repeat the URL.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the server took too long".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}
