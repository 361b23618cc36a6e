//! Names in six bits a letter, read from the right.
//!
//! Host names are made of 38 letters and the dot. Read from the right, a name's suffixes are beginnings of it,
//! so a name that is looked up is packed once for all of them.

use crate::wire::Name;

const ALPHABET: &[u8; 39] = b".abcdefghijklmnopqrstuvwxyz0123456789-_";
/// What stands between labels.
const DOT: u8 = 0;
const NO_LETTER: u8 = 0xff;

/// A byte within a label; a dot there is no letter of host names.
const CODES: [u8; 256] = {
    let mut codes = [NO_LETTER; 256];
    let mut at = DOT as usize + 1;
    while at < ALPHABET.len() {
        codes[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    codes
};

/// The longest name in letters, dots between labels included.
const MAX_LETTERS: usize = 253;

/// How many bytes so many letters take.
#[inline]
pub fn bytes_for(letters: usize) -> usize {
    (letters * 6).div_ceil(8)
}

/// How many letters the last `labels` labels of a name have.
#[inline]
pub fn letters_of(suffix: &[u8]) -> usize {
    // A length byte before each label and the root's behind: two more than dots between labels.
    suffix.len().saturating_sub(2)
}

/// A packed name.
pub struct Packed {
    bits: [u8; bytes_for_const(MAX_LETTERS)],
    letters: usize,
}

const fn bytes_for_const(letters: usize) -> usize {
    (letters * 6).div_ceil(8)
}

impl Packed {
    /// Packs a name, from the right up to the first byte that is no letter of host names.
    #[inline]
    pub fn of(name: &Name) -> Self {
        let mut packed = Self {
            bits: [0; bytes_for_const(MAX_LETTERS)],
            letters: 0,
        };
        // Length bytes stand where the dots are.
        let mut pending = 0u32;
        let mut held = 0;
        let mut to = 0;
        for at in (0..name.labels()).rev() {
            let dot = (packed.letters > 0).then_some(DOT);
            let label = name.label(at).iter().rev();
            for code in dot
                .into_iter()
                .chain(label.map(|&byte| CODES[usize::from(byte)]))
            {
                if code == NO_LETTER {
                    packed.bits[to] = pending as u8;
                    return packed;
                }
                pending |= u32::from(code) << held;
                held += 6;
                packed.letters += 1;
                if held >= 8 {
                    packed.bits[to] = pending as u8;
                    to += 1;
                    pending >>= 8;
                    held -= 8;
                }
            }
        }
        if held > 0 {
            packed.bits[to] = pending as u8;
        }
        packed
    }

    /// Whether so many letters from the right are what is stored as `bytes`.
    #[inline]
    pub fn ends_in(&self, letters: usize, bytes: &[u8]) -> bool {
        let Some((last, before)) = bytes.split_last() else {
            return letters == 0;
        };
        let mask = match letters * 6 % 8 {
            0 => 0xff,
            used => (1u8 << used) - 1,
        };
        letters <= self.letters
            && self.bits[..before.len()] == *before
            && self.bits[before.len()] & mask == *last
    }

    /// The whole name as it is stored, and its number of letters; `None` if it has a byte that is no letter.
    pub fn whole(&self, name: &Name) -> Option<(usize, &[u8])> {
        let letters = letters_of(name.wire());
        (letters == self.letters).then(|| (letters, &self.bits[..bytes_for(letters)]))
    }
}

/// The text of a stored name, without a final dot.
pub fn unpack(letters: usize, bytes: &[u8]) -> String {
    let mut reversed = Vec::with_capacity(letters);
    for letter in 0..letters {
        let bit = letter * 6;
        let low = bytes.get(bit / 8).copied().unwrap_or(0);
        let high = bytes.get(bit / 8 + 1).copied().unwrap_or(0);
        let code = (u16::from_le_bytes([low, high]) >> (bit % 8)) & 0x3f;
        reversed.push(ALPHABET.get(usize::from(code)).copied().unwrap_or(b'?'));
    }
    reversed.reverse();
    String::from_utf8(reversed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn suffixes_are_beginnings() {
        let asked = name("a-1.track_9.example.co.uk");
        let packed = Packed::of(&asked);
        for skip in 0..=asked.labels() {
            let suffix = Name::read(asked.suffix(skip)).unwrap();
            let own = Packed::of(&suffix);
            let (letters, bytes) = own.whole(&suffix).unwrap();
            assert!(packed.ends_in(letters, bytes), "{suffix}");
            if skip < asked.labels() {
                assert_eq!(unpack(letters, bytes), suffix.to_string());
            }
        }
        for other in ["xample.co.uk", "a.co.uk", "uk.co", "f.uk"] {
            let own = Packed::of(&name(other));
            let (letters, bytes) = own.whole(&name(other)).unwrap();
            let is_text_suffix = asked.to_string().ends_with(other);
            assert_eq!(packed.ends_in(letters, bytes), is_text_suffix, "{other}");
        }
    }

    #[test]
    fn odd_bytes_end_the_packing() {
        let odd = Name::read(b"\x03a.b\x02cd\x03com\x00").unwrap();
        let packed = Packed::of(&odd);
        assert!(packed.whole(&odd).is_none());
        let fine = name("cd.com");
        let own = Packed::of(&fine);
        let (letters, bytes) = own.whole(&fine).unwrap();
        assert!(packed.ends_in(letters, bytes));
        // Looks the same in text, and has other labels.
        let lookalike = name("a.b.cd.com");
        let own = Packed::of(&lookalike);
        let (letters, bytes) = own.whole(&lookalike).unwrap();
        assert!(!packed.ends_in(letters, bytes));
    }
}
