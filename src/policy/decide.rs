//! The rules of all lists, compiled, and the decision on a name.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use regex::bytes::{RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};

use super::matcher::build::{TableBuilder, Target, Written};
use super::matcher::networks::Networks;
use super::matcher::table::{Bytes, Table};
use super::{Action, Category, Glob, Pattern, Policy, Rule, Scope};
use crate::wire::{Name, name::write_text};

/// How much all regular expressions together may take when compiled, in bytes.
const REGEX_LIMIT: usize = 16 << 20;

/// Whose rule it is; the greater outranks the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The zones of a vendor: what no entry classifies.
    Zone,
    /// The shipped catalogue; lists that only record stand beside it, so that they never soften it.
    Catalogue,
    /// A list that the owner subscribed to.
    List,
    /// The owner's own rules in the configuration.
    Own,
}

/// A list as far as decisions go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInfo {
    /// Its name in output and block answers.
    pub name: String,
    /// Whose rules they are.
    pub tier: Tier,
    /// The category of everything on it, if the owner gave one.
    pub category: Option<Category>,
    /// The vendor of everything on it, if the owner gave one.
    pub vendor: Option<String>,
}

/// An entry of the catalogue: what is known about a name or a family of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name or pattern.
    pub pattern: String,
    /// The maker whose phones look it up.
    pub vendor: Arc<str>,
    /// What it is for.
    pub category: Category,
    /// Why we think so, in a sentence.
    pub evidence: String,
    /// Where that was found.
    pub sources: Vec<String>,
    /// What stops working when it is blocked.
    pub breaks: String,
    /// Names seen in the wild that a pattern or parent stands for.
    pub known: Vec<String>,
}

/// What a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// This action.
    Act(Action),
    /// Whatever the policy does about the category of this catalogue entry.
    Entry(u32),
}

/// How a rule was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HitKind {
    /// A literal name, so many labels long.
    Literal(u8, Scope),
    /// The pattern with this number.
    Glob(u32),
    /// The regular expression with this number.
    Regex(u32),
    /// An address in the answer.
    Network(IpNet),
}

/// The rule behind a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hit {
    /// How it was found.
    pub kind: HitKind,
    /// What it asks for.
    pub effect: Effect,
    /// The number of its list in [`RuleSet::lists`].
    pub list: u16,
}

/// What to do with a lookup, and the rule that says so; none for a name that no list knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// Why.
    pub hit: Option<Hit>,
}

impl Verdict {
    /// Nothing known: let it through.
    pub const UNLISTED: Self = Self {
        action: Action::Allow,
        hit: None,
    };

    /// Whether the lookup belongs in the log of matched lookups.
    pub fn is_matched(&self) -> bool {
        self.action != Action::Allow
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct LiteralRule {
    scope: Scope,
    effect: Effect,
    list: u16,
}

/// What the table holds for a name. Most names of a list share one cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Cell {
    literal: Vec<LiteralRule>,
    globs: Vec<u32>,
}

pub(super) struct GlobRule {
    pub glob: Glob,
    pub effect: Effect,
    pub list: u16,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RegexRule {
    text: String,
    effect: Effect,
    list: u16,
}

/// All rules of all lists, compiled for look-up; immutable, shared by every listener.
pub struct RuleSet {
    table: Table,
    cells: Vec<Cell>,
    globs: Vec<GlobRule>,
    regexes: Vec<RegexRule>,
    regex_set: RegexSet,
    networks: Networks<(Effect, u16)>,
    lists: Vec<ListInfo>,
    entries: Vec<Entry>,
    duplicates: Vec<usize>,
}

impl RuleSet {
    pub(super) fn new(table: Table, parts: Parts) -> Result<Self, BadRegex> {
        let texts = parts.regexes.iter().map(|rule| rule.text.as_str());
        let regex_set = RegexSetBuilder::new(texts)
            .unicode(false)
            .size_limit(REGEX_LIMIT)
            .build()
            .map_err(|error| BadRegex {
                text: format!("{} regular expressions together", parts.regexes.len()),
                reason: short_reason(&error),
            })?;
        Ok(Self {
            table,
            cells: parts.cells,
            globs: parts.globs,
            regexes: parts.regexes,
            regex_set,
            networks: parts.networks,
            lists: parts.lists,
            entries: parts.entries,
            duplicates: parts.duplicates,
        })
    }

    /// How many rules of each list stood there twice; counts as [`lists`](Self::lists).
    pub fn duplicates(&self) -> &[usize] {
        &self.duplicates
    }

    /// What to do with a lookup of `name` under `policy`.
    #[inline]
    pub fn decide(&self, policy: &Policy, name: &Name) -> Verdict {
        if !policy.filtering {
            return Verdict::UNLISTED;
        }
        let mut best: Option<(Rank, Hit)> = None;
        self.each_match(policy, name, |rank, hit| {
            if best.as_ref().is_none_or(|(highest, _)| rank > *highest) {
                best = Some((rank, hit));
            }
        });
        self.verdict(policy, best.map(|(_, hit)| hit))
    }

    /// Has the memory fetched that deciding on all these names will need. `room` is for its notes, and can be
    /// used again.
    #[inline]
    pub fn fetch_ahead<'n>(&self, names: impl Iterator<Item = &'n Name>, room: &mut Vec<u64>) {
        self.table.fetch_ahead(names, room);
    }

    /// Every rule that fits, the winner first: what [`decide`](Self::decide) chose from.
    pub fn explain(&self, policy: &Policy, name: &Name) -> Vec<Hit> {
        let mut all = Vec::new();
        self.each_match(policy, name, |rank, hit| all.push((rank, hit)));
        // Stable, and the first of equals wins in `decide`, so the two agree.
        all.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        all.into_iter().map(|(_, hit)| hit).collect()
    }

    /// What to do with an answer that holds `address`.
    pub fn decide_address(&self, policy: &Policy, address: IpAddr) -> Verdict {
        let found = self.networks.find(address);
        let Some((network, &(effect, list))) = found.filter(|_| policy.filtering) else {
            return Verdict::UNLISTED;
        };
        let kind = HitKind::Network(network);
        self.verdict(policy, Some(Hit { kind, effect, list }))
    }

    /// Whether any list holds an address, so that answers have to be searched for them.
    pub fn has_addresses(&self) -> bool {
        !self.networks.is_empty()
    }

    fn verdict(&self, policy: &Policy, hit: Option<Hit>) -> Verdict {
        match hit {
            None => Verdict::UNLISTED,
            Some(hit) => Verdict {
                action: self.action(policy, hit.effect),
                hit: Some(hit),
            },
        }
    }

    /// What `policy` makes of an effect.
    pub fn action(&self, policy: &Policy, effect: Effect) -> Action {
        match effect {
            Effect::Act(action) => action,
            Effect::Entry(entry) => policy.action(self.entries[entry as usize].category),
        }
    }

    #[inline]
    fn each_match(&self, policy: &Policy, name: &Name, mut found: impl FnMut(Rank, Hit)) {
        let labels = name.labels();
        self.table.each_suffix(name, |cell, depth| {
            let Some(cell) = self.cells.get(cell as usize) else {
                return;
            };
            for rule in &cell.literal {
                let fits = match rule.scope {
                    Scope::Exact => depth == labels,
                    Scope::Suffix => true,
                    Scope::Below => depth < labels,
                };
                if fits {
                    let kind = HitKind::Literal(depth as u8, rule.scope);
                    let shape = Shape::literal(depth, rule.scope);
                    let hit = Hit {
                        kind,
                        effect: rule.effect,
                        list: rule.list,
                    };
                    found(self.rank(policy, &hit, shape), hit);
                }
            }
            for &number in &cell.globs {
                let rule = &self.globs[number as usize];
                if rule.glob.matches_prefix_of(name) {
                    let kind = HitKind::Glob(number);
                    let hit = Hit {
                        kind,
                        effect: rule.effect,
                        list: rule.list,
                    };
                    found(self.rank(policy, &hit, Shape::glob(&rule.glob)), hit);
                }
            }
        });
        if !self.regexes.is_empty() {
            let mut text = String::with_capacity(name.wire().len());
            write_text(name.wire(), &mut text);
            for number in &self.regex_set.matches(text.as_bytes()) {
                let rule = &self.regexes[number];
                let kind = HitKind::Regex(number as u32);
                let hit = Hit {
                    kind,
                    effect: rule.effect,
                    list: rule.list,
                };
                found(self.rank(policy, &hit, Shape::REGEX), hit);
            }
        }
    }

    #[inline]
    fn rank(&self, policy: &Policy, hit: &Hit, shape: Shape) -> Rank {
        let mut tier = self.lists[hit.list as usize].tier;
        if tier == Tier::List && hit.effect == Effect::Act(Action::Record) {
            tier = Tier::Catalogue;
        }
        Rank {
            tier,
            allows: self.is_exception(hit.effect),
            shape,
            blocks: self.action(policy, hit.effect) == Action::Block,
            earlier: u16::MAX - hit.list,
        }
    }

    /// Whether an effect lets a name through on purpose. A category that the policy leaves alone is no
    /// exception: it must not outrank a more specific entry.
    fn is_exception(&self, effect: Effect) -> bool {
        match effect {
            Effect::Act(action) => action == Action::Allow,
            Effect::Entry(entry) => self.entries[entry as usize].category == Category::MustResolve,
        }
    }

    /// The lists behind the rules; [`Hit::list`] counts in it.
    pub fn lists(&self) -> &[ListInfo] {
        &self.lists
    }

    /// The catalogue's entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The catalogue entry behind a hit.
    pub fn entry(&self, hit: &Hit) -> Option<&Entry> {
        match hit.effect {
            Effect::Entry(entry) => self.entries.get(entry as usize),
            Effect::Act(_) => None,
        }
    }

    /// The category of a hit: the entry's, or the one its list was given.
    pub fn category(&self, hit: &Hit) -> Option<Category> {
        match self.entry(hit) {
            Some(entry) => Some(entry.category),
            None => self.lists[hit.list as usize].category,
        }
    }

    /// The vendor of a hit: the entry's, or the one its list was given.
    pub fn vendor(&self, hit: &Hit) -> Option<&str> {
        match self.entry(hit) {
            Some(entry) => Some(&entry.vendor),
            None => self.lists[hit.list as usize].vendor.as_deref(),
        }
    }

    /// The list's name.
    pub fn list_name(&self, hit: &Hit) -> &str {
        &self.lists[hit.list as usize].name
    }

    /// The rule as its list has it: a name (`*.` before it when only what lies below is meant), a pattern,
    /// or `/regex/`. `name` is the name that was asked for.
    pub fn rule_text(&self, hit: &Hit, name: &Name) -> String {
        match hit.kind {
            HitKind::Literal(labels, Scope::Below) => {
                format!("*.{}", name.text_of_last(labels as usize))
            }
            HitKind::Literal(labels, _) => name.text_of_last(labels as usize),
            HitKind::Glob(number) => self.globs[number as usize].glob.to_string(),
            HitKind::Regex(number) => format!("/{}/", self.regexes[number as usize].text),
            HitKind::Network(network) => network.to_string(),
        }
    }

    /// How many labels the shortest name has that a pattern fits.
    pub(super) fn glob_labels(&self, number: u32) -> usize {
        self.globs[number as usize].glob.labels()
    }

    /// How many literal names, patterns, regular expressions and networks there are, and how many bytes
    /// the literal names take.
    pub fn size(&self) -> (usize, usize) {
        let others = self.globs.len() + self.regexes.len() + self.networks.len();
        (self.table.len() + others, self.table.bytes())
    }

    /// Every literal name with its scope and effect, for export.
    pub fn literal_rules(&self) -> impl Iterator<Item = (Name, Scope, Effect)> + '_ {
        self.table.iter().flat_map(|(name, cell)| {
            let rules = self.cells.get(cell as usize).into_iter();
            let rules = rules.flat_map(|cell| &cell.literal);
            rules.map(move |rule| (name.clone(), rule.scope, rule.effect))
        })
    }

    /// Every pattern with its effect, for export.
    pub fn glob_rules(&self) -> impl Iterator<Item = (&Glob, Effect)> + '_ {
        self.globs.iter().map(|rule| (&rule.glob, rule.effect))
    }
}

/// How specific a rule is; the greater the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    labels: u8,
    literal: bool,
    exact: bool,
}

impl Shape {
    const REGEX: Self = Self {
        labels: 0,
        literal: false,
        exact: false,
    };

    fn literal(labels: usize, scope: Scope) -> Self {
        Self {
            labels: labels as u8,
            literal: true,
            exact: scope == Scope::Exact,
        }
    }

    fn glob(glob: &Glob) -> Self {
        Self {
            labels: glob.labels() as u8,
            ..Self::REGEX
        }
    }
}

/// The order of precedence, as the module's head tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    tier: Tier,
    allows: bool,
    shape: Shape,
    blocks: bool,
    earlier: u16,
}

/// A regular expression that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("/{text}/: {reason}")]
pub struct BadRegex {
    /// The expression.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Why rules cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The regular expressions together are too large.
    #[error(transparent)]
    Regex(#[from] BadRegex),
    /// The system had something against it.
    #[error("the rules cannot be compiled: {0}")]
    Io(#[from] io::Error),
}

/// What a name was added for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Attached {
    Literal(LiteralRule),
    Glob(u32),
}

/// Collects rules list by list and compiles them.
pub struct RuleSetBuilder {
    pub(super) names: TableBuilder,
    attached: Vec<Attached>,
    tags: HashMap<LiteralRule, u32>,
    pub(super) parts: Parts,
}

/// All of a rule set but its table.
#[derive(Default)]
pub(super) struct Parts {
    pub cells: Vec<Cell>,
    pub globs: Vec<GlobRule>,
    pub regexes: Vec<RegexRule>,
    pub networks: Networks<(Effect, u16)>,
    pub lists: Vec<ListInfo>,
    pub entries: Vec<Entry>,
    pub duplicates: Vec<usize>,
}

impl Default for RuleSetBuilder {
    fn default() -> Self {
        Self::new(None)
    }
}

impl RuleSetBuilder {
    /// Collects rules; when there are many, in a file without a name in `folder`.
    pub fn new(folder: Option<&Path>) -> Self {
        Self {
            names: TableBuilder::new(folder),
            attached: Vec::new(),
            tags: HashMap::new(),
            parts: Parts::default(),
        }
    }

    /// Starts a list; the rules added from here on are its own. Returns its number.
    pub fn list(&mut self, list: ListInfo) -> u16 {
        self.parts.lists.push(list);
        self.parts.duplicates.push(0);
        (self.parts.lists.len() - 1) as u16
    }

    /// Adds a catalogue entry under the list that was started last.
    pub fn entry(&mut self, entry: Entry, pattern: Pattern) {
        self.parts.entries.push(entry);
        let effect = Effect::Entry((self.parts.entries.len() - 1) as u32);
        self.rule(pattern, effect);
    }

    /// Adds a rule of the list that was started last; `action` is what the list does with its names. Rules
    /// that stand there twice are told at the end, by [`RuleSet::duplicates`].
    pub fn add(&mut self, rule: Rule, action: Action) {
        let action = if rule.allow { Action::Allow } else { action };
        self.rule(rule.pattern, Effect::Act(action));
    }

    fn rule(&mut self, pattern: Pattern, effect: Effect) {
        let list = (self.parts.lists.len() - 1) as u16;
        match pattern {
            Pattern::Name(name, scope) => {
                let rule = LiteralRule {
                    scope,
                    effect,
                    list,
                };
                let attached = &mut self.attached;
                let tag = *self.tags.entry(rule).or_insert_with(|| {
                    attached.push(Attached::Literal(rule));
                    (attached.len() - 1) as u32
                });
                self.names.add(&name, tag);
            }
            Pattern::Glob(glob) => {
                self.attached
                    .push(Attached::Glob(self.parts.globs.len() as u32));
                let tag = (self.attached.len() - 1) as u32;
                self.names.add(glob.suffix(), tag);
                self.parts.globs.push(GlobRule { glob, effect, list });
            }
            Pattern::Regex(text) => self.parts.regexes.push(RegexRule { text, effect, list }),
            Pattern::Network(network) => {
                let before = self.parts.networks.len();
                self.parts.networks.add(network, (effect, list));
                if self.parts.networks.len() == before {
                    self.parts.duplicates[usize::from(list)] += 1;
                }
            }
        }
    }

    /// How many names were added so far, patterns' ends among them.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Compiles what was added, in memory. Regular expressions are compiled as one; one that is malformed was
    /// refused by [`check_regex`].
    ///
    /// # Errors
    ///
    /// When all regular expressions together are too large, or the file that held the names cannot be read.
    pub fn build(mut self) -> Result<RuleSet, BuildError> {
        let written = self.write(Target::Heap)?;
        let bytes = Bytes::Heap(written.heap.unwrap_or_default());
        let table = Table::new(bytes, written.shape);
        let table = table.ok_or_else(|| io::Error::other("the table does not add up"))?;
        Ok(RuleSet::new(table, self.parts)?)
    }

    /// Writes the table and fills in the cells.
    pub(super) fn write(&mut self, target: Target<'_>) -> io::Result<Written> {
        let (attached, parts) = (&self.attached, &mut self.parts);
        let (cells, duplicates) = (&mut parts.cells, &mut parts.duplicates);
        let before = duplicates.clone();
        cells.clear();
        let mut numbers: HashMap<Cell, u32> = HashMap::new();
        // Nearly all names of a list have one tag, the same one.
        let mut alone: HashMap<u32, u32> = HashMap::new();
        let written = self.names.write(target, |tags| {
            if let [tag] = tags
                && let Some(number) = alone.get(tag)
            {
                return *number;
            }
            let mut cell = Cell::default();
            for &tag in tags {
                match attached[tag as usize] {
                    Attached::Glob(number) => cell.globs.push(number),
                    Attached::Literal(rule) if cell.literal.contains(&rule) => {
                        duplicates[usize::from(rule.list)] += 1;
                    }
                    Attached::Literal(rule) => cell.literal.push(rule),
                }
            }
            let number = *numbers.entry(cell).or_insert_with_key(|cell| {
                cells.push(cell.clone());
                (cells.len() - 1) as u32
            });
            if let [tag] = tags {
                alone.insert(*tag, number);
            }
            number
        });
        if written.is_err() {
            // Whoever tries again counts again.
            *duplicates = before;
        }
        written
    }
}

/// Whether a regular expression can be used: linear-time syntax, and of a bearable size.
pub fn check_regex(text: &str) -> Result<(), BadRegex> {
    regex::bytes::RegexBuilder::new(text)
        .unicode(false)
        .size_limit(1 << 20)
        .build()
        .map(|_| ())
        .map_err(|error| BadRegex {
            text: text.to_owned(),
            reason: short_reason(&error),
        })
}

/// The crate's message spans lines with a marker; the last line says what is wrong.
fn short_reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
