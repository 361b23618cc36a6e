//! One name a line.

use super::{Context, Format, Line, is_comment, looks_like_name, plain_line, without_comment};
use crate::policy::Scope;

pub(super) const FORMAT: Format = Format {
    name: "domains",
    plain: Scope::Suffix,
    is_typical: |line| looks_like_name(line.trim()),
    read,
};

fn read(line: &str, context: &mut Context) -> Line {
    let text = without_comment(line.trim());
    if text.is_empty() || is_comment(text) {
        return Line::Blank;
    }
    // Lists for dnsmasq and friends write `.example.com` for a name and what lies below it.
    if let Some(rest) = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        return plain_line(rest, Scope::Suffix, false);
    }
    plain_line(text, context.plain, false)
}
