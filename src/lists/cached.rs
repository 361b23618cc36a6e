//! The last good copy of every list, in the data folder: what a start without network, or with a broken
//! list, falls back on.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{ListStatus, Source};
use crate::files::{PRIVATE, replace};
use crate::policy::Digest;

/// What is remembered about a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyInfo {
    /// Where it came from, so that a copy is never taken for another list's.
    pub source: String,
    /// The server's ETag, for If-None-Match.
    pub etag: Option<String>,
    /// The server's Last-Modified, for If-Modified-Since.
    pub last_modified: Option<String>,
    /// When the copy was made, in seconds since 1970.
    pub fetched: i64,
    /// When the server last said that the copy is current, in seconds since 1970.
    pub checked: i64,
    /// The digest of the copy's bytes.
    #[serde(default)]
    pub digest: Digest,
}

/// The folder of copies, `lists/` in the data folder.
#[derive(Debug, Clone)]
pub struct CacheFolder {
    folder: PathBuf,
}

impl CacheFolder {
    /// The folder below the data folder; it is made when first written to.
    pub fn new(data: &Path) -> Self {
        Self {
            folder: data.join("lists"),
        }
    }

    /// The folder, made if it is missing.
    pub fn make(&self) -> io::Result<&Path> {
        fs::create_dir_all(&self.folder)?;
        Ok(&self.folder)
    }

    /// Where all lists are kept together, compiled.
    pub fn compiled(&self) -> PathBuf {
        self.folder.join("compiled")
    }

    /// The copy of a list, if there is a good one.
    pub fn copy(&self, source: &Source) -> Option<(PathBuf, CopyInfo)> {
        let info = self.info(source)?;
        let path = self.path(source, "list");
        path.is_file().then_some((path, info))
    }

    /// A file beside the copies, to become one of them.
    pub fn draft(&self) -> io::Result<Draft> {
        Ok(Draft {
            file: NamedTempFile::new_in(self.make()?)?,
            digest: Context::new(&SHA256),
        })
    }

    /// What is remembered about a list's copy.
    pub fn info(&self, source: &Source) -> Option<CopyInfo> {
        let text = fs::read(self.path(source, "json")).ok()?;
        let info: CopyInfo = serde_json::from_slice(&text).ok()?;
        (info.source == source.to_string()).then_some(info)
    }

    /// Replaces the copy of a list. A crash at any moment leaves the old copy or the new one. Returns where
    /// the copy is, and the digest of its bytes.
    pub fn keep(
        &self,
        draft: Draft,
        source: &Source,
        info: CopyInfo,
    ) -> io::Result<(PathBuf, CopyInfo)> {
        let digest = digest_of(draft.digest);
        let path = self.path(source, "list");
        draft.file.as_file().sync_data()?;
        draft.file.persist(&path).map_err(|error| error.error)?;
        let info = CopyInfo { digest, ..info };
        self.write_info(source, &info)?;
        Ok((path, info))
    }

    /// Replaces what is remembered about a copy.
    pub fn write_info(&self, source: &Source, info: &CopyInfo) -> io::Result<()> {
        self.make()?;
        let bytes = serde_json::to_vec(info)?;
        replace(&self.path(source, "json"), &bytes, PRIVATE)
    }

    /// Leaves word of how the lists fared, for `taciturn lists`.
    pub fn write_status(&self, lists: &[ListStatus]) -> io::Result<()> {
        let bytes = serde_json::to_vec(lists)?;
        replace(&self.make()?.join("status.json"), &bytes, PRIVATE)
    }

    /// How the lists fared when a server last said so.
    pub fn read_status(&self) -> Vec<ListStatus> {
        let text = fs::read(self.folder.join("status.json"));
        let lists = text
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        lists.unwrap_or_default()
    }

    fn path(&self, source: &Source, ending: &str) -> PathBuf {
        self.folder.join(format!(
            "{:016x}.{ending}",
            fnv1a(source.to_string().as_bytes())
        ))
    }
}

/// A list on its way to become a copy.
pub struct Draft {
    file: NamedTempFile,
    digest: Context,
}

impl Draft {
    /// What was written so far, from the start.
    pub fn reader(&self) -> io::Result<BufReader<File>> {
        self.file.reopen().map(BufReader::new)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.file.write(bytes)?;
        self.digest.update(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The digest of a file, read in pieces.
pub fn digest_of_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut digest = Context::new(&SHA256);
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest_of(digest)),
            len => digest.update(&piece[..len]),
        }
    }
}

/// The digest of all that was put in.
pub fn digest_of(context: Context) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// FNV-1a: file names have to stay the same from release to release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
