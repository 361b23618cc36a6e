//! Files that are nobody else's business, and that nobody ever finds half written.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Readable for everybody, writable for the owner.
pub const PUBLIC: u32 = 0o644;
/// The owner's alone.
pub const PRIVATE: u32 = 0o600;

/// Makes a folder, and those above it, that is its owner's alone; one that is there stays as it is.
///
/// # Errors
///
/// What the system says.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Puts `bytes` in the place of a file at once: written beside it first, then given its name.
///
/// # Errors
///
/// What the system says; then the file is as it was.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file is its owner's alone from the start.
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(bytes)?;
    new.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    Ok(())
}
