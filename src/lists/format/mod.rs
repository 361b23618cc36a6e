//! The list formats, one file each. A new one is a file here and a line in [`Format::ALL`].

mod adblock;
mod domains;
mod hosts;
mod regex;
mod rpz;
mod wildcard;

use crate::policy::{Glob, Pattern, Rule, Scope};
use crate::wire::Name;

/// What one line of a list says.
#[derive(Debug)]
pub enum Line {
    /// Nothing: empty, a comment, a header.
    Blank,
    /// These rules.
    Rules(Vec<Rule>),
    /// Something that cannot be used, and why.
    Junk(String),
}

impl Line {
    fn one(rule: Rule) -> Self {
        Self::Rules(vec![rule])
    }
}

/// What a parser remembers from line to line.
#[derive(Debug, Clone)]
pub struct Context {
    /// Whether plain names cover what lies below them.
    pub plain: Scope,
    /// RPZ: the name that relative names end in (`$ORIGIN`), and the zone's apex.
    pub origin: Name,
}

/// A list format: how its lines are recognised and read.
#[derive(Clone, Copy)]
pub struct Format {
    name: &'static str,
    /// What plain names cover when the owner does not say.
    plain: Scope,
    /// Whether a line can only be of this format.
    is_typical: fn(&str) -> bool,
    read: fn(&str, &mut Context) -> Line,
}

impl Format {
    /// All formats; the first whose typical lines a list has wins a draw.
    pub const ALL: [Self; 6] = [
        rpz::FORMAT,
        adblock::FORMAT,
        hosts::FORMAT,
        wildcard::FORMAT,
        regex::FORMAT,
        domains::FORMAT,
    ];

    /// The format's name in configuration and output.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The format called `name`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name == name)
    }

    /// Finds out the format from the first lines that say something: the one that most of them are
    /// typical of.
    pub fn detect<'l>(lines: impl Iterator<Item = &'l str>) -> Self {
        let mut scores = [0usize; Self::ALL.len()];
        let telling = lines
            .map(str::trim_end)
            .filter(|line| !line.trim_start().is_empty() && !is_comment(line));
        for line in telling.take(500) {
            if let Some(at) = Self::ALL
                .iter()
                .position(|format| (format.is_typical)(line))
            {
                scores[at] += 1;
            }
        }
        let best = scores.iter().max().copied().unwrap_or(0);
        let at = scores.iter().position(|score| *score == best && best > 0);
        at.map_or(domains::FORMAT, |at| Self::ALL[at])
    }

    /// What plain names cover when the owner does not say.
    pub fn plain_scope(self) -> Scope {
        self.plain
    }

    /// Reads one line.
    pub fn read(self, line: &str, context: &mut Context) -> Line {
        (self.read)(line, context)
    }
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Lines that are comments in every format: `#`, `!` (AdBlock), `;` (zone files) and `[Adblock Plus]`.
fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', '!', ';', '['])
}

/// A comment at the end of a line, cut off: ` #` in most formats.
fn without_comment(line: &str) -> &str {
    match line.find(" #").or_else(|| line.find("\t#")) {
        Some(at) => line[..at].trim_end(),
        None => line,
    }
}

/// Reads a plain entry: a name, an address or network, or a name with stars.
///
/// Names of a single label are refused: `com` or `localhost` on a list is a mistake that would take too
/// much with it. The owner's own rules may name them.
fn plain(text: &str, scope: Scope) -> Result<Pattern, String> {
    if let Ok(network) = text.parse::<ipnet::IpNet>() {
        return Ok(Pattern::Network(network));
    }
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(Pattern::Network(address.into()));
    }
    if text.contains('*') {
        let glob = Glob::from_text(text).map_err(|error| error.to_string())?;
        return Ok(Pattern::Glob(glob));
    }
    let name = Name::from_text(text).map_err(|error| error.to_string())?;
    match name.labels() {
        0 => Err("is the root of all names".to_owned()),
        1 => Err("has a single label, which would take a whole top-level domain".to_owned()),
        _ => Ok(Pattern::Name(name, scope)),
    }
}

fn plain_line(text: &str, scope: Scope, allow: bool) -> Line {
    match plain(text, scope) {
        Ok(pattern) => Line::one(Rule::new(pattern).allowing(allow)),
        Err(why) => Line::Junk(why),
    }
}

/// Whether a text looks like a domain name with at least two labels.
fn looks_like_name(text: &str) -> bool {
    text.contains('.') && !text.contains(['/', ' ', '|', '^', '$', '=']) && !text.starts_with('.')
}
