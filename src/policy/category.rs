//! What a name is for, and what a policy does about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done with a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Answered and not remembered.
    Allow,
    /// Answered, counted and logged.
    Record,
    /// Not answered with the truth, counted and logged.
    Block,
}

impl Action {
    /// All actions, mildest first.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Record, Self::Block];

    /// The action as written in configuration and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Record => "record",
            Self::Block => "block",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! categories {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal: $default:ident,)*) => {
        /// What the host behind a name is for. Most are read off the name itself; the catalogue says how
        /// sure we are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Category {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Category {
            /// Every category, in the order reports show them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The category as written in configuration, catalogue and output.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// What is done about it unless the configuration says otherwise.
            pub fn default_action(self) -> Action {
                match self {
                    $(Self::$variant => Action::$default,)*
                }
            }
        }
    };
}

categories! {
    /// Usage and device statistics.
    Telemetry = "telemetry": Block,
    /// Advertisements, and the measuring of them.
    Ads = "ads": Block,
    /// Crash reports and log uploads.
    Crash = "crash": Block,
    /// Where the phone is.
    Location = "location": Block,
    /// Push messages to apps.
    Push = "push": Record,
    /// Settings that the maker changes from afar.
    Config = "config": Record,
    /// System and app updates.
    Ota = "ota": Record,
    /// Signing in and paying.
    Account = "account": Record,
    /// Shops, browsers' content, themes, games.
    Store = "store": Record,
    /// Ways around a DNS filter.
    Bypass = "bypass": Record,
    /// Names by which a browser asks whether the network filters.
    Canary = "canary": Block,
    /// In lists of vendor names, purpose not known.
    Unknown = "unknown": Record,
    /// Below a vendor's zone, and no entry knows it.
    Unclassified = "unclassified": Record,
    /// Has to answer.
    MustResolve = "must-resolve": Allow,
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is done per category, for everybody or for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    actions: Vec<Action>,
    /// Off: every lookup is allowed and nothing is recorded.
    pub filtering: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            actions: Category::ALL.iter().map(|c| c.default_action()).collect(),
            filtering: true,
        }
    }
}

impl Policy {
    /// What this policy does about a category.
    #[inline]
    pub fn action(&self, category: Category) -> Action {
        self.actions[category as usize]
    }

    /// Changes what is done about a category.
    pub fn set(&mut self, category: Category, action: Action) {
        self.actions[category as usize] = action;
    }
}
