//! What is kept, and what a keeper of it has to do. A new store is one file that implements [`Store`] and
//! [`Reader`].
use foldhash::HashMap;
use serde::Serialize;

/// A store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// The rule behind a count or log row, in words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RuleKey {
    /// `allow`, `record` or `block`.
    pub action: &'static str,
    /// The vendor; empty when none is known.
    pub vendor: String,
    /// The category; empty when none is known.
    pub category: String,
    /// The rule as its list has it; empty for lookups that no list knows.
    pub entry: String,
    /// The list.
    pub list: String,
}

/// What is counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// Hours since 1970.
    pub hour: i64,
    /// The device.
    pub device: String,
    /// The rule.
    pub rule: RuleKey,
    /// The name; empty for lookups that no list knows.
    pub name: String,
}

/// A row for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogRow {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The device.
    pub device: String,
    /// The rule.
    pub rule: RuleKey,
    /// The name.
    pub name: String,
    /// The type's number.
    pub qtype: u16,
    /// The name in the answer that the rule fits, when it is another.
    pub via: String,
}

/// What is written at once, all of it or nothing.
#[derive(Debug, Default)]
pub struct Batch {
    /// To be added to the counts.
    pub counts: HashMap<CountKey, u64>,
    /// To be added to the log.
    pub log: Vec<NewLogRow>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.log.is_empty()
    }
}

/// A keeper of counts and log.
pub trait Store: Send {
    /// Writes a batch, all of it or nothing.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Forgets log rows older than `log_before` (milliseconds since 1970) and counts older than
    /// `counts_before` (hours since 1970), a bounded number at a time. Returns whether there is more.
    fn prune(&mut self, log_before: i64, counts_before: i64) -> Result<bool, StoreError>;
}

/// What counts are summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// The maker.
    Vendor,
    /// What the names are for.
    Category,
    /// The name asked for.
    Domain,
    /// Who asked.
    Device,
    /// The hour, as seconds since 1970.
    Hour,
    /// The list.
    List,
    /// The rule or catalogue entry.
    Entry,
}

impl Grouping {
    /// Every grouping, in the order of their mention.
    pub const ALL: [Self; 7] = [
        Self::Vendor,
        Self::Category,
        Self::Domain,
        Self::Device,
        Self::Hour,
        Self::List,
        Self::Entry,
    ];

    /// The grouping as written on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Category => "category",
            Self::Domain => "domain",
            Self::Device => "device",
            Self::Hour => "hour",
            Self::List => "list",
            Self::Entry => "entry",
        }
    }
}

/// Which counts.
#[derive(Debug, Clone)]
pub struct CountQuery {
    /// What they are summed by.
    pub by: Grouping,
    /// From this time on, in seconds since 1970; rounded down to the hour.
    pub since: i64,
    /// Of this device only.
    pub device: Option<String>,
    /// Of this vendor only.
    pub vendor: Option<String>,
    /// Of this category only.
    pub category: Option<String>,
    /// At most so many rows, the largest.
    pub limit: u32,
}

/// Counts of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountRow {
    /// The vendor, category, name, device or hour; empty for lookups to which none applies.
    pub key: String,
    /// Lookups blocked.
    pub blocked: u64,
    /// Lookups recorded.
    pub recorded: u64,
    /// Lookups let through.
    pub allowed: u64,
}

/// Which log rows.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only rows with a greater number.
    pub after: Option<i64>,
    /// Of this device only.
    pub device: Option<String>,
    /// Of this action only.
    pub action: Option<String>,
    /// At most so many rows, the newest.
    pub limit: u32,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogRow {
    /// Its number; later rows have greater ones.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The device.
    pub device: String,
    /// The name.
    pub name: String,
    /// The type.
    pub qtype: String,
    /// What was done.
    pub action: String,
    /// The rule.
    pub rule: String,
    /// Its list.
    pub list: String,
    /// The vendor; empty when none is known.
    pub vendor: String,
    /// The category; empty when none is known.
    pub category: String,
    /// The name in the answer that the rule fits, when it is another.
    pub via: String,
}

/// A way to ask what a store holds.
pub trait Reader: Send {
    /// Counts, the group with the most blocked and recorded lookups first; hours in their own order.
    fn counts(&self, query: &CountQuery) -> Result<Vec<CountRow>, StoreError>;

    /// Log rows, oldest first.
    fn log(&self, query: &LogQuery) -> Result<Vec<LogRow>, StoreError>;
}
