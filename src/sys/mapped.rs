//! A file as memory.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A file mapped for reading. The kernel keeps what is used of it in memory, and can drop the rest.
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps a whole file.
    ///
    /// The file must not be changed while it is mapped. taciturn's compiled files are not: a new one is
    /// written beside the old one and takes its name, and the old one's bytes stay until nobody has them
    /// mapped. Who changes such a file by other means can make lookups wrong, or end the process by cutting
    /// it short, but has the right to write the data folder, and with it the right to do worse.
    ///
    /// # Errors
    ///
    /// What the system says; an empty file cannot be mapped.
    pub fn open(file: &File) -> io::Result<Self> {
        // SAFETY: the bytes behind the reference do not change, as said above; every reader treats them as
        // bytes of any value and checks each place it goes to.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(map))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
