//! A domain name in lower-case wire form, on the stack.

use std::fmt;

/// The longest name in wire form, root included (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 255;
/// The most labels such a name can have, root not counted.
pub const MAX_LABELS: usize = 127;

/// Why a text or a run of bytes is not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A label is empty (two dots in a row, or a leading dot).
    #[error("has an empty label")]
    EmptyLabel,
    /// A label has more than 63 bytes.
    #[error("has a label longer than 63 bytes")]
    LongLabel,
    /// The name has more than 255 bytes in wire form.
    #[error("is longer than 255 bytes")]
    LongName,
    /// A character that no host or service name has.
    #[error("has a character that a name cannot have")]
    BadCharacter,
    /// International text that IDNA (RFC 5891) refuses.
    #[error("is not a valid international name")]
    BadIdn,
    /// The bytes end within the name, or hold a compression pointer.
    #[error("is cut short or compressed")]
    Malformed,
}

/// A domain name: labels with their length bytes, lower case, the root's zero byte last.
///
/// Labels are counted from the left; `suffix(0)` is the whole name.
#[derive(Clone)]
pub struct Name {
    bytes: [u8; MAX_NAME],
    starts: [u8; MAX_LABELS],
    len: u8,
    labels: u8,
}

impl Name {
    /// The root: no labels, one zero byte.
    pub const ROOT: Self = Self {
        bytes: [0; MAX_NAME],
        starts: [0; MAX_LABELS],
        len: 1,
        labels: 0,
    };

    /// Reads an uncompressed name at the start of `bytes`, folding it to lower case (RFC 4343).
    ///
    /// Returns the name; its [`wire`](Self::wire) length says how many bytes were read.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Self, NameError> {
        let mut name = Self::ROOT;
        let mut at = 0usize;
        let mut labels = 0usize;
        loop {
            let length = *bytes.get(at).ok_or(NameError::Malformed)? as usize;
            if length == 0 {
                break;
            }
            if length > 63 {
                return Err(NameError::Malformed);
            }
            let end = at + 1 + length;
            if end >= MAX_NAME {
                return Err(NameError::LongName);
            }
            let label = bytes.get(at + 1..end).ok_or(NameError::Malformed)?;
            name.starts[labels] = at as u8;
            name.bytes[at] = length as u8;
            for (to, from) in name.bytes[at + 1..end].iter_mut().zip(label) {
                *to = from.to_ascii_lowercase();
            }
            labels += 1;
            at = end;
        }
        name.bytes[at] = 0;
        name.len = (at + 1) as u8;
        name.labels = labels as u8;
        Ok(name)
    }

    /// Reads a name as people write it: dots, an optional final dot, any case, international text
    /// turned to A-labels (RFC 5891). `.` is the root.
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::ROOT);
        }
        if text.is_ascii() {
            return Self::from_ascii(text);
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| NameError::BadIdn)?;
        Self::from_ascii(ascii.strip_suffix('.').unwrap_or(&ascii))
    }

    fn from_ascii(text: &str) -> Result<Self, NameError> {
        let mut wire = [0u8; MAX_NAME];
        let mut at = 0;
        for label in text.split('.') {
            match label.len() {
                0 => return Err(NameError::EmptyLabel),
                1..=63 => {}
                _ => return Err(NameError::LongLabel),
            }
            if at + 1 + label.len() >= MAX_NAME {
                return Err(NameError::LongName);
            }
            if !label.bytes().all(is_name_byte) {
                return Err(NameError::BadCharacter);
            }
            wire[at] = label.len() as u8;
            wire[at + 1..at + 1 + label.len()].copy_from_slice(label.as_bytes());
            at += 1 + label.len();
        }
        Self::read(&wire[..=at])
    }

    /// The whole name in wire form, root byte included.
    #[inline]
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// How many labels the name has; the root has none.
    #[inline]
    pub fn labels(&self) -> usize {
        self.labels as usize
    }

    /// The wire form without its first `skip` labels; the root when none are left.
    #[inline]
    pub fn suffix(&self, skip: usize) -> &[u8] {
        if skip >= self.labels() {
            return &self.bytes[self.len as usize - 1..self.len as usize];
        }
        &self.bytes[self.starts[skip] as usize..self.len as usize]
    }

    /// The bytes of the label at `index` from the left, without its length.
    #[inline]
    pub fn label(&self, index: usize) -> &[u8] {
        let start = self.starts[index] as usize;
        &self.bytes[start + 1..start + 1 + self.bytes[start] as usize]
    }

    /// Whether this name is `zone` or lies below it.
    pub fn is_within(&self, zone: &Name) -> bool {
        self.labels() >= zone.labels() && self.suffix(self.labels() - zone.labels()) == zone.wire()
    }

    /// The last `labels` labels as text, without a final dot.
    pub fn text_of_last(&self, labels: usize) -> String {
        let mut text = String::with_capacity(self.len as usize);
        write_text(self.suffix(self.labels().saturating_sub(labels)), &mut text);
        text
    }
}

/// Bytes that host names and service names (`_dns`, RFC 8552) are written with.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Writes wire-form labels as text without a final dot; odd bytes are escaped as `\DDD` (RFC 1035
/// section 5.1), so that nothing a client sends can act on a terminal or a page.
pub fn write_text(mut wire: &[u8], to: &mut String) {
    use fmt::Write;
    if wire.first().is_none_or(|length| *length == 0) {
        to.push('.');
        return;
    }
    let mut first = true;
    while let Some((&length, rest)) = wire.split_first() {
        let length = length as usize;
        if length == 0 || rest.len() < length {
            break;
        }
        if !first {
            to.push('.');
        }
        first = false;
        for &byte in &rest[..length] {
            match byte {
                b'.' | b'\\' => {
                    to.push('\\');
                    to.push(byte as char);
                }
                0x21..=0x7e => to.push(byte as char),
                _ => {
                    let _ = write!(to, "\\{byte:03}");
                }
            }
        }
        wire = &rest[length..];
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text_of_last(self.labels()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.wire().hash(state);
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::from_text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_agree() {
        let name = Name::from_text("Data.Mistat.INTL.xiaomi.com.").unwrap();
        assert_eq!(name.to_string(), "data.mistat.intl.xiaomi.com");
        assert_eq!(name.labels(), 5);
        assert_eq!(name.suffix(3), b"\x06xiaomi\x03com\x00");
        assert_eq!(name.suffix(5), b"\x00");
        assert_eq!(name.label(1), b"mistat");
        assert_eq!(name.text_of_last(2), "xiaomi.com");
        assert_eq!(Name::from_text(".").unwrap(), Name::ROOT);
    }

    #[test]
    fn international_names_become_a_labels() {
        assert_eq!(
            Name::from_text("Bücher.example").unwrap().to_string(),
            "xn--bcher-kva.example"
        );
    }

    #[test]
    fn limits_of_rfc1035_2_3_4() {
        assert_eq!(Name::from_text("a..b"), Err(NameError::EmptyLabel));
        assert_eq!(Name::from_text(&"a".repeat(64)), Err(NameError::LongLabel));
        let longest = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61),
        ]
        .join(".");
        assert_eq!(Name::from_text(&longest).unwrap().wire().len(), 255);
        assert_eq!(
            Name::from_text(&format!("{longest}d")),
            Err(NameError::LongName)
        );
        assert_eq!(Name::from_text("a b.c"), Err(NameError::BadCharacter));
        assert_eq!(Name::read(b"\xc0\x0c"), Err(NameError::Malformed));
        assert_eq!(Name::read(b"\x05abc"), Err(NameError::Malformed));
    }

    #[test]
    fn odd_bytes_are_escaped() {
        let name = Name::read(b"\x05a.\x1b\\\xff\x02<b\x00").unwrap();
        assert_eq!(name.to_string(), "a\\.\\027\\\\\\255.<b");
    }

    #[test]
    fn within_a_zone_goes_by_labels() {
        let zone = Name::from_text("mi.com").unwrap();
        assert!(Name::from_text("mi.com").unwrap().is_within(&zone));
        assert!(Name::from_text("a.mi.com").unwrap().is_within(&zone));
        assert!(!Name::from_text("xmi.com").unwrap().is_within(&zone));
    }
}
