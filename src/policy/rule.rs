//! One rule of a list, as the parsers hand it over.

use ipnet::IpNet;

use super::Glob;
use crate::wire::Name;

/// Which names a literal rule covers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Scope {
    /// Only the names below the rule's name (an RPZ wildcard).
    Below,
    /// The rule's name and everything below it.
    Suffix,
    /// That name alone (a hosts file, an RPZ owner).
    Exact,
}

/// What a rule looks for.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// A literal name.
    Name(Name, Scope),
    /// A name with `*` inside labels; covers what lies below, too.
    Glob(Glob),
    /// A regular expression over the name in lower case without a final dot.
    Regex(String),
    /// An address or network in an answer.
    Network(IpNet),
}

/// A pattern, and whether the list means to let it through (`@@`, `rpz-passthru`) instead of acting on it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What it looks for.
    pub pattern: Pattern,
    /// An exception.
    pub allow: bool,
}

impl Rule {
    /// A rule that acts on `pattern`.
    pub fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            allow: false,
        }
    }

    /// The same rule as an exception.
    pub fn allowing(self, allow: bool) -> Self {
        Self { allow, ..self }
    }
}
