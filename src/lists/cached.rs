//! The last good copy of every list, in the data folder: what a start without network, or with a broken
//! list, falls back on.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ListStatus, Source};

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

    /// The copy of a list, if there is a good one.
    pub fn read(&self, source: &Source) -> Option<(Vec<u8>, CopyInfo)> {
        let info = self.info(source)?;
        let bytes = fs::read(self.path(source, "list")).ok()?;
        Some((bytes, info))
    }

    /// What is remembered about a list's copy.
    pub fn info(&self, source: &Source) -> Option<CopyInfo> {
        let text = fs::read(self.path(source, "json")).ok()?;
        let info: CopyInfo = serde_json::from_slice(&text).ok()?;
        (info.source == source.to_string()).then_some(info)
    }

    /// Replaces the copy of a list. A crash at any moment leaves the old copy or the new one.
    pub fn write(&self, source: &Source, bytes: &[u8], info: &CopyInfo) -> io::Result<()> {
        replace(&self.path(source, "list"), bytes)?;
        self.write_info(source, info)
    }

    /// Replaces what is remembered about a copy.
    pub fn write_info(&self, source: &Source, info: &CopyInfo) -> io::Result<()> {
        replace(&self.path(source, "json"), &serde_json::to_vec(info)?)
    }

    /// Leaves word of how the lists fared, for `taciturn lists`.
    pub fn write_status(&self, lists: &[ListStatus]) -> io::Result<()> {
        replace(
            &self.folder.join("status.json"),
            &serde_json::to_vec(lists)?,
        )
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

/// Writes beside the file and renames, so that readers never see half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

/// FNV-1a: file names have to stay the same from release to release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
