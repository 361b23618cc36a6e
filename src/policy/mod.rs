//! What to do with a name: matcher + catalogue + policy -> [`Verdict`].
//!
//! Deciding is pure code without I/O, clocks or locks. The server's fast path, `taciturn check`, the API and
//! the tests all call [`RuleSet::decide`]. Only making a rule set touches files, and only in `compiled` and
//! `matcher::build`.
//!
//! Which rule wins:
//! 1. Tiers: the owner's own rules, then allow and block rules of the lists, then the catalogue (and lists
//!    that only record), then vendor zones that no entry classifies.
//! 2. Within a tier allow beats block.
//! 3. Then the most specific rule: more labels first, an exact rule before one that covers what lies below,
//!    a literal name before a pattern, a pattern before a regular expression.
//! 4. What is still tied: block before record, then the list that stands first.

mod category;
mod compiled;
mod decide;
mod explain;
mod matcher;
mod rule;
pub mod special;

pub use category::{Action, Category, Policy};
pub use compiled::Digest;
pub use decide::{
    BadRegex, BuildError, Effect, Entry, Hit, HitKind, ListInfo, RuleSet, RuleSetBuilder, Tier,
    Verdict, check_regex,
};
pub use explain::{Explanation, OtherRule, explain};
pub use matcher::glob::{Glob, GlobError};
pub use matcher::networks::Networks;
pub use rule::{Pattern, Rule, Scope};
