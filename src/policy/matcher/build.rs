//! Making a [`Table`] out of names in any order, with little more memory than the names of a sixty-fourth.
//!
//! What is added goes to one of 64 parts by the hash of its name. A part keeps what is new in memory and, once
//! that is much and there is a folder for it, in a file without a name. At the end each part is sorted and
//! written by itself; since parts are ranges of hashes, they follow each other in the table.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::hash;
use super::packed::{Packed, bytes_for};
use super::table::{MAX_VALUE, Shape, filter_bits, write_stored};
use crate::wire::Name;

const PARTS: usize = 64;
/// How much a part holds in memory before it goes to the file, in bytes.
const HELD: usize = 32 << 10;
/// Bytes of a record before its letters: hash, tag, number of letters.
const HEAD: usize = 8 + 4 + 1;

/// Names on their way into a table. Each is added with a tag; the tags of equal names come together at the end.
pub struct TableBuilder {
    parts: Vec<Part>,
    folder: Option<PathBuf>,
    spool: Option<File>,
    spooled: u64,
    len: usize,
    depths: u64,
}

#[derive(Default)]
struct Part {
    held: Vec<u8>,
    /// Where in the file the rest is, first things first.
    blocks: Vec<(u64, usize)>,
}

/// Where a table is written to.
pub enum Target<'t> {
    /// To memory.
    Heap,
    /// To the file, from where it stands.
    File(&'t mut File),
}

/// What was written.
pub struct Written {
    /// The table's bytes, when they went to memory.
    pub heap: Option<Box<[u8]>>,
    /// The table's shape.
    pub shape: Shape,
}

/// A record as a part has it.
#[derive(Clone, Copy)]
struct Record<'p> {
    hash: u64,
    tag: u32,
    letters: u8,
    bytes: &'p [u8],
}

impl TableBuilder {
    /// Collects names, in files without names in `folder` when there are many.
    pub fn new(folder: Option<&Path>) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            folder: folder.map(Path::to_owned),
            spool: None,
            spooled: 0,
            len: 0,
            depths: 0,
        }
    }

    /// Adds a name with a tag. A name with bytes that no host name has is not taken: no list can write it.
    pub fn add(&mut self, name: &Name, tag: u32) -> bool {
        let packed = Packed::of(name);
        let Some((letters, bytes)) = packed.whole(name) else {
            return false;
        };
        let hash = hash::of(name);
        let part = &mut self.parts[hash::place(hash, PARTS)];
        part.held.extend_from_slice(&hash.to_le_bytes());
        part.held.extend_from_slice(&tag.to_le_bytes());
        part.held.push(letters as u8);
        part.held.extend_from_slice(bytes);
        self.len += 1;
        self.depths |= Shape::depth_bit(name.labels());
        if part.held.len() >= HELD && self.folder.is_some() {
            self.put_away(hash::place(hash, PARTS));
        }
        true
    }

    /// How many names were added.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Moves what a part holds to the file. Without one, or with a full disk, it stays in memory.
    fn put_away(&mut self, at: usize) {
        if self.spool.is_none() {
            let made = self.folder.as_deref().map(tempfile::tempfile_in);
            self.spool = made.and_then(Result::ok);
        }
        let (Some(file), part) = (&mut self.spool, &mut self.parts[at]) else {
            self.folder = None;
            return;
        };
        let from = self.spooled;
        let put = file
            .seek(SeekFrom::Start(from))
            .and_then(|_| file.write_all(&part.held));
        match put {
            Ok(()) => {
                part.blocks.push((from, part.held.len()));
                self.spooled += part.held.len() as u64;
                part.held.clear();
            }
            Err(_) => self.folder = None,
        }
    }

    /// Writes the table. `value` gives each name its value, from its tags in the order they were added.
    ///
    /// # Errors
    ///
    /// What the system says of the files. The builder is as before, and can be asked again for memory.
    pub fn write(
        &mut self,
        mut target: Target<'_>,
        mut value: impl FnMut(&[u32]) -> u32,
    ) -> io::Result<Written> {
        let mut shape = Shape {
            depths: self.depths,
            ..Shape::for_names(self.len)
        };
        let mut filter = vec![0u64; shape.words];
        let mut places: Vec<u32> = Vec::with_capacity(shape.buckets + 1);
        let mut heap = Vec::new();
        let start = match &mut target {
            Target::Heap => 0,
            Target::File(file) => {
                let start = file.stream_position()?;
                file.seek(SeekFrom::Start(start + shape.buckets_at() as u64))?;
                start
            }
        };
        let mut end = 0usize;
        let mut tags = Vec::new();
        let mut part = Vec::new();
        let mut out = Vec::new();
        for at in 0..PARTS {
            self.read_part(at, &mut part)?;
            let mut records: Vec<Record<'_>> = records(&part).collect();
            // Stable, so that the tags of a name stay in order.
            records.sort_by_key(|record| (record.hash, record.letters, record.bytes));
            for group in records.chunk_by(|a, b| (a.hash, a.bytes) == (b.hash, b.bytes)) {
                let record = group[0];
                tags.clear();
                tags.extend(group.iter().map(|record| record.tag));
                let bucket = hash::place(record.hash, shape.buckets);
                while places.len() <= bucket {
                    places.push((end + out.len()) as u32);
                }
                let value = value(&tags);
                debug_assert!(value <= MAX_VALUE);
                write_stored(&mut out, record.letters, value, record.bytes);
                let (word, bits) = filter_bits(record.hash, shape.words);
                filter[word] |= bits;
                shape.len += 1;
            }
            end += out.len();
            if u32::try_from(end).is_err() {
                return Err(io::Error::other(
                    "the lists have more names than a table takes",
                ));
            }
            match &mut target {
                Target::Heap => heap.append(&mut out),
                Target::File(file) => file.write_all(&out)?,
            }
            out.clear();
        }
        places.resize(shape.buckets + 1, end as u32);
        let head = filter
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .chain(places.iter().flat_map(|place| place.to_le_bytes()));
        let heap = match target {
            Target::Heap => {
                let mut bytes = Vec::with_capacity(shape.buckets_at() + heap.len());
                bytes.extend(head);
                bytes.append(&mut heap);
                Some(bytes.into_boxed_slice())
            }
            Target::File(file) => {
                file.seek(SeekFrom::Start(start))?;
                let mut file = io::BufWriter::new(file);
                for byte in head {
                    file.write_all(&[byte])?;
                }
                file.flush()?;
                file.seek(SeekFrom::End(0))?;
                None
            }
        };
        Ok(Written { heap, shape })
    }

    fn read_part(&mut self, at: usize, to: &mut Vec<u8>) -> io::Result<()> {
        to.clear();
        let part = &self.parts[at];
        if let Some(file) = &mut self.spool {
            for &(from, len) in &part.blocks {
                let filled = to.len();
                to.resize(filled + len, 0);
                file.seek(SeekFrom::Start(from))?;
                io::Read::read_exact(file, &mut to[filled..])?;
            }
        }
        to.extend_from_slice(&part.held);
        Ok(())
    }
}

fn records(part: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = part;
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(HEAD)?;
        let letters = head[12];
        let (bytes, after) = after.split_at_checked(bytes_for(usize::from(letters)))?;
        rest = after;
        Some(Record {
            hash: u64::from_le_bytes(head[..8].try_into().ok()?),
            tag: u32::from_le_bytes(head[8..12].try_into().ok()?),
            letters,
            bytes,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::table::{Bytes, Table};
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn finish(mut builder: TableBuilder, value: impl FnMut(&[u32]) -> u32) -> Table {
        let Written { heap, shape } = builder.write(Target::Heap, value).unwrap();
        Table::new(Bytes::Heap(heap.unwrap()), shape).unwrap()
    }

    fn last(tags: &[u32]) -> u32 {
        tags[tags.len() - 1]
    }

    fn table(names: &[(&str, u32)]) -> Table {
        let mut builder = TableBuilder::new(None);
        for (text, tag) in names {
            assert!(builder.add(&name(text), *tag));
        }
        finish(builder, last)
    }

    fn find(table: &Table, asked: &str) -> Vec<(u32, usize)> {
        let mut found = Vec::new();
        table.each_suffix(&name(asked), |value, labels| found.push((value, labels)));
        found
    }

    #[test]
    fn finds_suffixes_root_first() {
        let names = [
            ("com", 0),
            ("a.com", 300),
            ("b.a.com", 70_000),
            ("xa.com", 3),
            (".", 4),
        ];
        let table = table(&names);
        let expected = [(4, 0), (0, 1), (300, 2), (70_000, 3)];
        assert_eq!(find(&table, "c.b.a.com"), expected);
        assert_eq!(find(&table, "net"), [(4, 0)]);
    }

    #[test]
    fn tags_of_equal_names_come_together_in_order() {
        let mut builder = TableBuilder::new(None);
        for (text, tag) in [("a.b", 2), ("c.d", 5), ("a.b", 1), ("a.b", 9)] {
            builder.add(&name(text), tag);
        }
        let mut seen = Vec::new();
        let table = finish(builder, |tags| {
            seen.push(tags.to_vec());
            0
        });
        seen.sort();
        assert_eq!(seen, [vec![2, 1, 9], vec![5]]);
        assert_eq!(table.len(), 2);
    }

    /// Enough of them to go through the file, and what the issue asks for: at most 24 bytes a name.
    #[test]
    fn many_names_stay_exact_and_small() {
        let text = |i: u32| format!("host-{i}.sub{}.example", i % 97);
        let folder = tempfile::tempdir().unwrap();
        let mut builder = TableBuilder::new(Some(folder.path()));
        let count = 200_000;
        for i in 0..count {
            assert!(builder.add(&name(&text(i)), i % 1000));
        }
        assert!(builder.spool.is_some());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        let written = builder.write(Target::File(&mut file), last).unwrap();
        let mapped = crate::sys::mapped::Mapped::open(&file).unwrap();
        let range = 6..mapped.len();
        let table = Table::new(Bytes::Mapped(mapped, range), written.shape).unwrap();
        let in_memory = finish(builder, last);
        assert_eq!(table.bytes(), in_memory.bytes());
        for table in [table, in_memory] {
            assert!(table.bytes() / count as usize <= 24, "{}", table.bytes());
            for i in 0..count {
                assert_eq!(find(&table, &text(i)), [(i % 1000, 3)]);
                assert_eq!(find(&table, &format!("x{}", text(i))), []);
            }
            assert_eq!(table.len(), count as usize);
            assert_eq!(table.iter().count(), count as usize);
        }
    }

    #[test]
    fn no_bytes_panic() {
        let names: Vec<String> = (0..200).map(|i| format!("a{i}.example")).collect();
        let mut builder = TableBuilder::new(None);
        for text in &names {
            builder.add(&name(text), 1);
        }
        let written = builder.write(Target::Heap, last).unwrap();
        let bytes = written.heap.unwrap();
        let mut state = 7u64;
        for _ in 0..2000 {
            let mut broken = bytes.clone();
            for _ in 0..20 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = (state >> 33) as usize % broken.len();
                broken[at] = state as u8;
            }
            let table = Table::new(Bytes::Heap(broken), written.shape).unwrap();
            for text in names.iter().take(20) {
                find(&table, text);
            }
            table.iter().count();
        }
        let cut = Bytes::Heap(bytes[..40].into());
        assert!(Table::new(cut, written.shape).is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(names in prop::collection::vec(("([ab]{1,2}\\.){0,3}[ab]{1,9}", 0u32..9), 0..60),
                                  asked in "([ab]{1,2}\\.){0,3}[ab]{1,9}") {
            let mut builder = TableBuilder::new(None);
            let mut reference = HashMap::new();
            for (text, value) in &names {
                builder.add(&name(text), *value);
                reference.insert(text.clone(), *value);
            }
            let table = finish(builder, last);
            prop_assert_eq!(table.len(), reference.len());
            let labels: Vec<&str> = asked.split('.').collect();
            let expected: Vec<_> = (1..=labels.len())
                .filter_map(|n| {
                    let suffix = labels[labels.len() - n..].join(".");
                    reference.get(&suffix).map(|value| (*value, n))
                })
                .collect();
            prop_assert_eq!(find(&table, &asked), expected);
        }
    }
}
