//! DNS cookies (RFC 7873): proof that a client is at the address it asks from.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// How old a server cookie may be, and how far in the future, in seconds (RFC 9018 section 4.3).
const OLD: u32 = 3600;
const EARLY: u32 = 300;
/// From which age on a client gets a new one, in seconds.
const RENEWED: u32 = 1800;
/// The only version there is, and three reserved bytes.
const VERSION: [u8; 4] = [1, 0, 0, 0];

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie {
    /// Its own part, which the reply repeats.
    pub client: [u8; 8],
    /// Our part, when it has one of the length we make.
    pub server: Option<[u8; 16]>,
}

impl Cookie {
    /// Bytes of the whole option in a reply, its head included.
    pub const REPLY: usize = 4 + 8 + 16;

    /// Reads the option's data; `None` when its length is none that it can have (RFC 7873 section 5.2.2).
    pub fn read(data: &[u8]) -> Option<Self> {
        let client = data.get(..8)?.try_into().ok()?;
        let server = match data.len() - 8 {
            0 => None,
            16 => data[8..].try_into().ok(),
            // Another server's, behind the same address: as good as none.
            8..=32 => None,
            _ => return None,
        };
        Some(Self { client, server })
    }
}

/// The secret that our parts are made with.
pub struct Cookies {
    secret: [u8; 16],
}

impl Cookies {
    /// With a secret of 128 bits.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// The data of the reply's option: what the client sent, and our part: as it was while it is young,
    /// else a new one. `now` is in seconds since 1970.
    pub fn reply(&self, cookie: &Cookie, client: IpAddr, now: u32) -> [u8; 24] {
        let made = match cookie.server.filter(|_| self.is_valid(cookie, client, now)) {
            Some(server) if age(&server, now) < RENEWED as i32 => server,
            _ => self.make(&cookie.client, client, now),
        };
        let mut data = [0; 24];
        data[..8].copy_from_slice(&cookie.client);
        data[8..].copy_from_slice(&made);
        data
    }

    /// Whether we made this client's cookie, not long ago (RFC 9018 section 4.3).
    pub fn is_valid(&self, cookie: &Cookie, client: IpAddr, now: u32) -> bool {
        let Some(server) = &cookie.server else {
            return false;
        };
        let age = age(server, now);
        let made = now.wrapping_sub(age as u32);
        age <= OLD as i32
            && age >= -(EARLY as i32)
            && *server == self.make(&cookie.client, client, made)
    }

    /// Version, time and hash (RFC 9018 section 4.4).
    fn make(&self, own: &[u8; 8], client: IpAddr, time: u32) -> [u8; 16] {
        let mut server = [0; 16];
        server[..4].copy_from_slice(&VERSION);
        server[4..8].copy_from_slice(&time.to_be_bytes());
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(own);
        hasher.write(&server[..8]);
        match client.to_canonical() {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        server[8..].copy_from_slice(&hasher.finish().to_le_bytes());
        server
    }
}

/// Seconds since a server cookie was made, by serial number arithmetic (RFC 1982).
fn age(server: &[u8; 16], now: u32) -> i32 {
    let made = u32::from_be_bytes([server[4], server[5], server[6], server[7]]);
    now.wrapping_sub(made) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        bytes.try_into().unwrap()
    }

    /// The first two examples of the standard.
    #[test]
    fn rfc9018_appendix_a() {
        let cookies = Cookies::new(bytes("e5e973e5a6b2a43f48e7dc849e37bfcf"));
        let client: IpAddr = "198.51.100.100".parse().unwrap();
        let first = Cookie {
            client: bytes("2464c4abcf10c957"),
            server: None,
        };
        let reply = cookies.reply(&first, client, 1_559_731_985);
        let expected = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        assert_eq!(reply, bytes(expected));
        let again = Cookie::read(&reply).unwrap();
        assert!(cookies.is_valid(&again, client, 1_559_731_985 + 60));
        assert_eq!(cookies.reply(&again, client, 1_559_731_985 + 60), reply);
        assert_ne!(cookies.reply(&again, client, 1_559_731_985 + 1801), reply);
    }

    #[test]
    fn rfc9018_4_3_only_our_own_and_young() {
        let cookies = Cookies::new([7; 16]);
        let (client, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let asked = Cookie::read(&[1; 8]).unwrap();
        assert!(!cookies.is_valid(&asked, client, 10_000));
        let good = Cookie::read(&cookies.reply(&asked, client, 10_000)).unwrap();
        assert!(cookies.is_valid(&good, client, 10_000 + OLD));
        assert!(!cookies.is_valid(&good, client, 10_001 + OLD));
        assert!(cookies.is_valid(&good, client, 10_000 - EARLY));
        assert!(!cookies.is_valid(&good, client, 9_999 - EARLY));
        assert!(!cookies.is_valid(&good, other, 10_000));
        assert!(!Cookies::new([8; 16]).is_valid(&good, client, 10_000));
        for length in [0, 7, 9, 15, 41] {
            assert!(Cookie::read(&vec![0; length]).is_none(), "{length}");
        }
        assert!(Cookie::read(&[0; 40]).is_some());
    }
}
