//! AdBlock style as far as DNS goes: `||name^`, exceptions `@@||name^`, `/regex/`, and the plain names and
//! hosts lines that such lists mix in.

use super::regex::{between_slashes, regex_line};
use super::{Context, Format, Line, hosts, is_comment, plain_line, without_comment};
use crate::policy::Scope;

pub(super) const FORMAT: Format = Format {
    name: "adblock",
    plain: Scope::Suffix,
    is_typical: |line| {
        let line = line.trim();
        line.starts_with("||") || line.starts_with("@@")
    },
    read,
};

/// Modifiers that change nothing for a DNS filter.
const HARMLESS: &[&str] = &[
    "important",
    "all",
    "document",
    "doc",
    "popup",
    "third-party",
    "3p",
];

fn read(line: &str, context: &mut Context) -> Line {
    let text = line.trim();
    if text.is_empty() || is_comment(text) {
        return Line::Blank;
    }
    let (text, allow) = match text.strip_prefix("@@") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    if let Some(expression) = between_slashes(text) {
        return regex_line(expression, allow);
    }
    if ["##", "#@#", "#?#", "#$#", "#%#"]
        .iter()
        .any(|mark| text.contains(mark))
    {
        return Line::Junk("hides parts of pages, which DNS cannot".to_owned());
    }
    let (text, modifiers) = match text.rsplit_once('$') {
        Some((text, modifiers)) => (text, modifiers),
        None => (text, ""),
    };
    for modifier in modifiers.split(',').filter(|m| !m.is_empty()) {
        if !HARMLESS.contains(&modifier) {
            return Line::Junk(format!(
                "has the modifier `{modifier}`, which DNS cannot honour"
            ));
        }
    }
    if let Some(rest) = text.strip_prefix("||") {
        let name = rest
            .strip_suffix('^')
            .or_else(|| rest.strip_suffix("^|"))
            .unwrap_or(rest);
        let name = name.strip_prefix("*.").unwrap_or(name);
        if name.contains(['/', '^', '|', ':']) {
            return Line::Junk("is about parts of addresses that DNS does not see".to_owned());
        }
        return plain_line(name, Scope::Suffix, allow);
    }
    if let Some(rest) = text.strip_prefix('|') {
        let name = rest
            .strip_suffix('^')
            .or_else(|| rest.strip_suffix('|'))
            .unwrap_or(rest);
        return plain_line(name, Scope::Exact, allow);
    }
    let text = without_comment(text);
    if text.contains(char::is_whitespace) && !allow {
        return hosts::FORMAT.read(text, context);
    }
    if text.contains(['/', '^', '|', '=', '?', '&']) {
        return Line::Junk("is about parts of addresses that DNS does not see".to_owned());
    }
    plain_line(text, context.plain, allow)
}
