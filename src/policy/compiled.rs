//! A rule set as a file, so that a start does not read all lists again.
//!
//! The file is made from certain inputs, whose digest it carries, and has a checksum. Whatever is not as it
//! should be, the lists are read instead. The table in the file is mapped, not read: a new one is written
//! while the old one answers, and neither has to be in memory as a whole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::decide::{BuildError, Cell, Entry, GlobRule, ListInfo, Parts, RegexRule};
use super::matcher::build::Target;
use super::matcher::networks::Networks;
use super::matcher::table::{Bytes, Shape, Table};
use super::{Effect, Glob, RuleSet, RuleSetBuilder};
use crate::sys::mapped::Mapped;

const MAGIC: &[u8; 8] = b"taciturn";
/// Counts up when the layout of the file or the way of hashing changes.
const VERSION: u32 = 1;
/// Magic, version, checksum, digest, where the description begins.
const HEAD: usize = 8 + 4 + 4 + 32 + 8;

/// What the file was made from.
pub type Digest = [u8; 32];

/// All but the table and the catalogue's entries, which the binary has.
#[derive(Serialize, Deserialize)]
struct Description {
    shape: Shape,
    cells: Vec<Cell>,
    globs: Vec<(String, Effect, u16)>,
    regexes: Vec<RegexRule>,
    networks: Vec<(IpNet, Effect, u16)>,
    lists: Vec<ListInfo>,
    duplicates: Vec<usize>,
    notes: serde_json::Value,
}

impl RuleSetBuilder {
    /// Compiles what was added into a file, which takes the place of the one at `path`. `notes` go with it.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), and what the system says of the file. The builder is then as before.
    pub fn build_file(
        &mut self,
        path: &Path,
        digest: &Digest,
        notes: serde_json::Value,
    ) -> Result<RuleSet, BuildError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut draft = tempfile::NamedTempFile::new_in(folder)?;
        let file = draft.as_file_mut();
        file.seek(SeekFrom::Start(HEAD as u64))?;
        let written = self.write(Target::File(file))?;
        let description = self.describe(written.shape, notes);
        let description = serde_json::to_vec(&description).map_err(io::Error::from)?;
        let described_at = file.stream_position()?;
        file.write_all(&description)?;
        file.seek(SeekFrom::Start(HEAD as u64))?;
        let sum = checksum(file, digest, described_at)?;
        file.rewind()?;
        file.write_all(MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        file.write_all(&sum.to_le_bytes())?;
        file.write_all(digest)?;
        file.write_all(&described_at.to_le_bytes())?;
        file.sync_data()?;
        let file = draft.persist(path).map_err(|error| error.error)?;
        let parts = std::mem::take(&mut self.parts);
        Ok(RuleSet::new(
            table(&file, described_at, written.shape)?,
            parts,
        )?)
    }

    fn describe(&self, shape: Shape, notes: serde_json::Value) -> Description {
        let parts = &self.parts;
        let glob = |rule: &GlobRule| (rule.glob.to_string(), rule.effect, rule.list);
        let networks = parts.networks.iter();
        Description {
            shape,
            cells: parts.cells.clone(),
            globs: parts.globs.iter().map(glob).collect(),
            regexes: parts.regexes.clone(),
            networks: networks
                .map(|(network, (effect, list))| (network, *effect, *list))
                .collect(),
            lists: parts.lists.clone(),
            duplicates: parts.duplicates.clone(),
            notes,
        }
    }
}

impl RuleSet {
    /// Opens a compiled file, if it was made from the inputs with this digest and is whole. `entries` are those
    /// of the catalogue, in the order in which they were added. The notes come back with it.
    ///
    /// # Errors
    ///
    /// Why it cannot be used; then the lists have to be read.
    pub fn open(
        path: &Path,
        digest: &Digest,
        entries: Vec<Entry>,
    ) -> io::Result<(Self, serde_json::Value)> {
        let mut file = File::open(path)?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        let u32_at =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let mut described_at = [0; 8];
        described_at.copy_from_slice(&head[48..]);
        let described_at = u64::from_le_bytes(described_at);
        if head[..8] != *MAGIC || u32_at(8) != VERSION || head[16..48] != *digest {
            return Err(io::Error::other("it was made from something else"));
        }
        if checksum(&mut file, digest, described_at)? != u32_at(12) {
            return Err(io::Error::other("it is damaged"));
        }
        file.seek(SeekFrom::Start(described_at))?;
        let mut description = Vec::new();
        file.read_to_end(&mut description)?;
        let description: Description = serde_json::from_slice(&description)?;
        let mut networks = Networks::default();
        for (network, effect, list) in description.networks {
            networks.add(network, (effect, list));
        }
        let globs = description.globs.into_iter().map(|(text, effect, list)| {
            let glob = Glob::from_text(&text).map_err(io::Error::other)?;
            Ok(GlobRule { glob, effect, list })
        });
        let parts = Parts {
            cells: description.cells,
            globs: globs.collect::<io::Result<_>>()?,
            regexes: description.regexes,
            networks,
            lists: description.lists,
            entries,
            duplicates: description.duplicates,
        };
        let table = table(&file, described_at, description.shape)?;
        let rules = Self::new(table, parts).map_err(io::Error::other)?;
        Ok((rules, description.notes))
    }
}

fn table(file: &File, end: u64, shape: Shape) -> io::Result<Table> {
    let bytes = Bytes::Mapped(Mapped::open(file)?, HEAD..end as usize);
    Table::new(bytes, shape).ok_or_else(|| io::Error::other("its parts do not fit together"))
}

/// The checksum of what stands behind the head, and of what the head says. Reads the file in pieces, so that
/// it does not become part of this process.
fn checksum(file: &mut File, digest: &Digest, described_at: u64) -> io::Result<u32> {
    let mut sum = crc32fast::Hasher::new();
    sum.update(digest);
    sum.update(&described_at.to_le_bytes());
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sum.finalize()),
            len => sum.update(&piece[..len]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, Category, HitKind, Pattern, Policy, Rule, Scope, Tier};
    use crate::wire::Name;

    fn entry() -> Entry {
        Entry {
            pattern: "ads-*.maker.test".to_owned(),
            vendor: "maker".into(),
            category: Category::Ads,
            evidence: String::new(),
            sources: Vec::new(),
            breaks: String::new(),
            known: Vec::new(),
        }
    }

    fn builder(folder: &Path) -> RuleSetBuilder {
        let mut builder = RuleSetBuilder::new(Some(folder));
        let list = |name: &str, tier| ListInfo {
            name: name.to_owned(),
            tier,
            category: None,
            vendor: None,
        };
        builder.list(list("names", Tier::List));
        for n in 0..20_000 {
            let name = Name::from_text(&format!("host{}.listed.test", n % 19_999)).unwrap();
            builder.add(Rule::new(Pattern::Name(name, Scope::Suffix)), Action::Block);
        }
        let network = Pattern::Network("192.0.2.0/24".parse().unwrap());
        builder.add(Rule::new(network), Action::Block);
        builder.add(
            Rule::new(Pattern::Regex("^x[0-9]+[.]test$".to_owned())),
            Action::Record,
        );
        builder.list(list("catalogue", Tier::Catalogue));
        builder.entry(
            entry(),
            Pattern::Glob(Glob::from_text("ads-*.maker.test").unwrap()),
        );
        builder
    }

    fn check(set: &RuleSet) {
        let policy = Policy::default();
        let decide = |name: &str| set.decide(&policy, &Name::from_text(name).unwrap());
        assert_eq!(decide("a.host77.listed.test").action, Action::Block);
        assert_eq!(decide("host77x.listed.test").action, Action::Allow);
        assert_eq!(decide("x12.test").action, Action::Record);
        let glob = decide("ads-fr.maker.test");
        assert_eq!(glob.action, Action::Block);
        let hit = glob.hit.unwrap();
        assert!(matches!(hit.kind, HitKind::Glob(_)));
        assert_eq!(set.vendor(&hit), Some("maker"));
        assert_eq!(set.list_name(&hit), "catalogue");
        let address = set.decide_address(&policy, "192.0.2.9".parse().unwrap());
        assert_eq!(address.action, Action::Block);
        assert_eq!(set.duplicates(), [1, 0]);
    }

    #[test]
    fn the_file_decides_as_the_lists_did() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules");
        check(&builder(folder.path()).build().unwrap());
        let notes = serde_json::json!(["noted"]);
        let mut builder = builder(folder.path());
        check(&builder.build_file(&path, &[7; 32], notes.clone()).unwrap());
        let (opened, noted) = RuleSet::open(&path, &[7; 32], vec![entry()]).unwrap();
        check(&opened);
        assert_eq!(noted, notes);
    }

    #[test]
    fn other_inputs_and_every_damaged_byte_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules");
        let mut builder = builder(folder.path());
        builder
            .build_file(&path, &[7; 32], serde_json::Value::Null)
            .unwrap();
        assert!(RuleSet::open(&path, &[8; 32], vec![entry()]).is_err());
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 300).chain(0..HEAD) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            assert!(
                RuleSet::open(&path, &[7; 32], vec![entry()]).is_err(),
                "byte {at}"
            );
        }
        for len in [0, 5, HEAD, good.len() / 2, good.len() - 1] {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(
                RuleSet::open(&path, &[7; 32], vec![entry()]).is_err(),
                "{len} bytes"
            );
        }
    }
}
