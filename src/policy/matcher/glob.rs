//! Names with `*` inside labels: one pattern for a family that differs only by region or number.

use std::fmt;

use crate::wire::{Name, NameError};

/// Why a text is not a usable pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Not a name even without its stars.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There has to be a literal label to the right of every star, lest one rule covers a whole
    /// top-level domain by accident.
    #[error("needs at least a literal last label")]
    NoLiteralSuffix,
}

/// A pattern such as `sdkconfig.ad.*.xiaomi.com` or `adx-*.heytapmobile.com`.
///
/// `*` stands for any run of bytes within one label; a label that is only `*` stands for any one label.
/// Like a literal rule it covers what lies below, too.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    /// The labels that hold stars and those left of them, leftmost first.
    labels: Vec<Box<[u8]>>,
    /// The literal labels to the right.
    suffix: Name,
}

impl Glob {
    /// Reads a pattern. A text without a star is a valid pattern, too.
    pub fn from_text(text: &str) -> Result<Self, GlobError> {
        let text = text.strip_suffix('.').unwrap_or(text).to_lowercase();
        let starless: String = text.replace('*', "x");
        Name::from_text(&starless)?;
        let all: Vec<&str> = text.split('.').collect();
        let split = all.iter().rposition(|label| label.contains('*'));
        let split = split.map_or(0, |last| last + 1);
        if split == all.len() {
            return Err(GlobError::NoLiteralSuffix);
        }
        Ok(Self {
            labels: all[..split].iter().map(|l| l.as_bytes().into()).collect(),
            suffix: Name::from_text(&all[split..].join("."))?,
        })
    }

    /// The literal labels at the end of every name that can match.
    pub fn suffix(&self) -> &Name {
        &self.suffix
    }

    /// How many labels the shortest matching name has.
    pub fn labels(&self) -> usize {
        self.labels.len() + self.suffix.labels()
    }

    /// Whether `name`, known to end in the pattern's suffix, matches.
    #[inline]
    pub fn matches_prefix_of(&self, name: &Name) -> bool {
        let Some(first) = name.labels().checked_sub(self.labels()) else {
            return false;
        };
        // From the right: the label next to the suffix tells most patterns of a family apart.
        (0..self.labels.len())
            .rev()
            .all(|at| label_matches(&self.labels[at], name.label(first + at)))
    }

    /// Whether `name` matches.
    pub fn matches(&self, name: &Name) -> bool {
        name.is_within(&self.suffix) && self.matches_prefix_of(name)
    }
}

/// Whether `*` in `pattern` can be filled so that it reads as `label`: the greedy two-pointer walk, linear
/// for one star and never worse than the product of the lengths.
fn label_matches(pattern: &[u8], label: &[u8]) -> bool {
    let (mut p, mut l) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while l < label.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, l));
            p += 1;
        } else if pattern.get(p) == Some(&label[l]) {
            p += 1;
            l += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            p = star + 1;
            l = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in &self.labels {
            write!(f, "{}.", String::from_utf8_lossy(label))?;
        }
        write!(f, "{}", self.suffix)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Glob::from_text(pattern)
            .unwrap()
            .matches(&Name::from_text(name).unwrap())
    }

    #[test]
    fn stars_stay_within_a_label() {
        assert!(matches("adx-*.heytapmobile.com", "adx-fr.heytapmobile.com"));
        assert!(matches(
            "adx-*.heytapmobile.com",
            "x.adx-fr.heytapmobile.com"
        ));
        assert!(!matches(
            "adx-*.heytapmobile.com",
            "adx-fr.x.heytapmobile.com"
        ));
        assert!(!matches("adx-*.heytapmobile.com", "adx.heytapmobile.com"));
        assert!(!matches("adx-*.heytapmobile.com", "heytapmobile.com"));
        assert!(matches("ad.*.xiaomi.com", "api.ad.intl.xiaomi.com"));
        assert!(!matches("ad.*.xiaomi.com", "ad.xiaomi.com"));
        assert!(!matches("ad.*.xiaomi.com", "bad.intl.xiaomi.com"));
        assert!(matches("cc*.sys.*.xiaomi.com", "ccc.sys.intl.xiaomi.com"));
        assert!(matches("a*b*c.example", "axxbyybc.example"));
        assert!(!matches("a*b*c.example", "axxcyyb.example"));
    }

    #[test]
    fn a_pattern_needs_a_literal_end() {
        assert_eq!(Glob::from_text("ads.*"), Err(GlobError::NoLiteralSuffix));
        assert_eq!(Glob::from_text("a*."), Err(GlobError::NoLiteralSuffix));
        assert!(matches!(
            Glob::from_text("a..*.b"),
            Err(GlobError::Name(NameError::EmptyLabel))
        ));
        assert_eq!(
            Glob::from_text("A-*.Mi.com.").unwrap().to_string(),
            "a-*.mi.com"
        );
    }
}
