//! Running a parser over a whole list.

use serde::{Deserialize, Serialize};

use super::Format;
use super::format::{Context, Line};
use crate::policy::{Rule, Scope};
use crate::wire::Name;

/// How many junk lines are kept word for word.
const JUNK_KEPT: usize = 20;
/// How much of a junk line is kept, in characters.
const JUNK_TEXT: usize = 120;
/// Lines longer than this, in bytes, are junk unread: no name or sane expression is that long.
const LINE_LIMIT: usize = 4096;

/// A line that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Junk {
    /// Its number, counted from 1.
    pub line: usize,
    /// Its beginning, control characters replaced.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// What came of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseReport {
    /// The format it was read as.
    pub format: String,
    /// Rules taken.
    pub rules: usize,
    /// Rules that stood there before.
    pub duplicates: usize,
    /// Lines that could not be used.
    pub junk: usize,
    /// The first of them.
    pub junk_lines: Vec<Junk>,
}

/// Reads a list, handing each rule to `add`, which says whether the rule was new.
///
/// Takes any bytes: a byte-order mark, CRLF and invalid UTF-8 are coped with. `format` is found out when
/// `None`; `subdomains` says whether plain names cover what lies below them.
pub fn parse(
    bytes: &[u8],
    format: Option<Format>,
    subdomains: Option<bool>,
    mut add: impl FnMut(Rule) -> bool,
) -> ParseReport {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = || bytes.split(|byte| *byte == b'\n').map(trim_cr);
    let format = format.unwrap_or_else(|| {
        let head: Vec<_> = lines().take(5000).map(String::from_utf8_lossy).collect();
        Format::detect(head.iter().map(|line| line.as_ref()))
    });
    let plain = match subdomains {
        Some(true) => Scope::Suffix,
        Some(false) => Scope::Exact,
        None => format.plain_scope(),
    };
    let mut context = Context {
        plain,
        origin: Name::ROOT,
    };
    let mut report = ParseReport {
        format: format.name().to_owned(),
        ..ParseReport::default()
    };
    for (at, line) in lines().enumerate() {
        let text = String::from_utf8_lossy(line);
        let outcome = if line.len() > LINE_LIMIT {
            Line::Junk(format!("is longer than {LINE_LIMIT} bytes"))
        } else {
            format.read(&text, &mut context)
        };
        match outcome {
            Line::Blank => {}
            Line::Rules(rules) => {
                for rule in rules {
                    if add(rule) {
                        report.rules += 1;
                    } else {
                        report.duplicates += 1;
                    }
                }
            }
            Line::Junk(why) => {
                report.junk += 1;
                if report.junk_lines.len() < JUNK_KEPT {
                    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
                    report.junk_lines.push(Junk {
                        line: at + 1,
                        text: text.trim().chars().take(JUNK_TEXT).map(clean).collect(),
                        why,
                    });
                }
            }
        }
    }
    report
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
