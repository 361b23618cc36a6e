//! Regular expressions between slashes, one a line.

use super::{Context, Format, Line, domains};
use crate::policy::{Pattern, Rule, Scope, check_regex};

pub(super) const FORMAT: Format = Format {
    name: "regex",
    plain: Scope::Suffix,
    is_typical: |line| between_slashes(line.trim()).is_some(),
    read,
};

/// The expression in `/…/`.
pub(super) fn between_slashes(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('/')?.strip_suffix('/')?;
    (!inner.is_empty()).then_some(inner)
}

/// Reads an expression as a rule.
pub(super) fn regex_line(expression: &str, allow: bool) -> Line {
    match check_regex(expression) {
        Ok(()) => Line::one(Rule::new(Pattern::Regex(expression.to_owned())).allowing(allow)),
        Err(error) => Line::Junk(error.reason),
    }
}

fn read(line: &str, context: &mut Context) -> Line {
    match between_slashes(line.trim()) {
        Some(expression) => regex_line(expression, false),
        None => domains::FORMAT.read(line, context),
    }
}
