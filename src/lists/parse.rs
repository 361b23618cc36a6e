//! Running a parser over a whole list.

use std::io::{self, BufRead, Read};

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

impl ParseReport {
    /// Takes rules that turned out to stand there before out of the count.
    pub fn count_duplicates(&mut self, duplicates: usize) {
        self.rules -= duplicates.min(self.rules);
        self.duplicates += duplicates;
    }
}

/// How much is looked at to find out the format, in bytes.
const HEAD: u64 = 256 << 10;

/// Reads a list, handing each rule to `add`. Never holds more of it than its beginning and a line.
///
/// Takes any bytes: a byte-order mark, CRLF and invalid UTF-8 are coped with. `format` is found out when
/// `None`; `subdomains` says whether plain names cover what lies below them.
///
/// # Errors
///
/// What the reader says.
pub fn parse(
    mut list: impl BufRead,
    format: Option<Format>,
    subdomains: Option<bool>,
    mut add: impl FnMut(Rule),
) -> io::Result<ParseReport> {
    let mut head = Vec::new();
    list.by_ref().take(HEAD).read_to_end(&mut head)?;
    let start = match head.starts_with(b"\xef\xbb\xbf") {
        true => 3,
        false => 0,
    };
    let format = format.unwrap_or_else(|| {
        let lines = head[start..].split(|byte| *byte == b'\n').map(trim_cr);
        let lines: Vec<_> = lines.map(String::from_utf8_lossy).collect();
        Format::detect(lines.iter().map(|line| line.as_ref()))
    });
    let mut list = head[start..].chain(list);
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
    let mut line = Vec::new();
    let mut at = 0;
    while next_line(&mut list, &mut line)? {
        at += 1;
        let line = trim_cr(&line);
        let text = String::from_utf8_lossy(line);
        let outcome = if line.len() > LINE_LIMIT {
            Line::Junk(format!("is longer than {LINE_LIMIT} bytes"))
        } else {
            format.read(&text, &mut context)
        };
        match outcome {
            Line::Blank => {}
            Line::Rules(rules) => {
                report.rules += rules.len();
                rules.into_iter().for_each(&mut add);
            }
            Line::Junk(why) => {
                report.junk += 1;
                if report.junk_lines.len() < JUNK_KEPT {
                    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
                    report.junk_lines.push(Junk {
                        line: at,
                        text: text.trim().chars().take(JUNK_TEXT).map(clean).collect(),
                        why,
                    });
                }
            }
        }
    }
    Ok(report)
}

/// Reads the next line without its end; of one that is too long only so much that this shows. `false` at the
/// end of the list.
fn next_line(list: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let limit = LINE_LIMIT as u64 + 2;
    if list.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == limit {
        list.skip_until(b'\n')?;
    }
    Ok(true)
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
