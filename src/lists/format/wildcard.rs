//! Names with a leading `*.`: the name and what lies below it.

use super::{Context, Format, Line, domains, looks_like_name};
use crate::policy::Scope;

pub(super) const FORMAT: Format = Format {
    name: "wildcard",
    plain: Scope::Suffix,
    is_typical: |line| line.trim().strip_prefix("*.").is_some_and(looks_like_name),
    read,
};

fn read(line: &str, context: &mut Context) -> Line {
    domains::FORMAT.read(line, context)
}
