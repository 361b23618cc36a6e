//! Where rules come from: the shipped catalogue, files, and URLs; all of them made into one
//! [`RuleSet`](crate::policy::RuleSet).
//!
//! [`mod@format`] has a parser per list format, [`mod@parse`] runs one over a text and counts junk, [`catalogue`] is
//! what the binary carries, [`cached`] keeps the last good copy of downloaded lists on disk, [`download`]
//! renews them, [`mod@assemble`] compiles everything, [`mod@export`] writes the catalogue out for other resolvers.

pub mod assemble;
pub mod cached;
pub mod catalogue;
pub mod download;
pub mod export;
pub mod format;
pub mod parse;

use std::path::PathBuf;

pub use assemble::{Assembled, ListStatus, assemble};
pub use cached::CacheFolder;
pub use format::Format;
pub use parse::{Junk, ParseReport};

use crate::policy::{Action, Category};

/// The name that the catalogue goes by.
pub const CATALOGUE: &str = "catalogue";
/// The name that the owner's own rules go by.
pub const OWN_RULES: &str = "rules";

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file on this machine.
    File(PathBuf),
    /// An address on the web; the last good copy is kept on disk.
    Url(reqwest::Url),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// A list as the owner asked for it.
#[derive(Debug, Clone)]
pub struct ListSpec {
    /// Its name in output and block answers.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// What is done with its names.
    pub action: Action,
    /// Its format; found out when `None`.
    pub format: Option<Format>,
    /// Whether plain names cover what lies below them; by format when `None`.
    pub subdomains: Option<bool>,
    /// The category of everything on it.
    pub category: Option<Category>,
    /// The vendor of everything on it.
    pub vendor: Option<String>,
}
