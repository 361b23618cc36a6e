//! Plain DNS to one server (RFC 1035 section 4.2.1): a socket for each query under way, used again for later ones.
//!
//! Making a socket and putting it away costs more than a query on it. Against forged answers (RFC 5452) every
//! query has a random identifier, every socket a random port that it gives up after a while, and the kernel
//! lets nobody but the server through.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::wire::{HEADER, Name};

/// Queries that a socket is used for.
const USES: u16 = 200;
/// Sockets that are kept for later.
const KEPT: usize = 256;
/// How long until a query is sent again: datagrams get lost.
const AGAIN: Duration = Duration::from_millis(800);
/// Room for an answer, in bytes: we never ask for longer ones.
const ROOM: usize = 4096;

/// A socket, and how often it can still be used.
struct Slot {
    socket: UdpSocket,
    to: SocketAddr,
    left: u16,
}

/// Sockets to a server that are free.
#[derive(Default)]
pub struct Datagrams {
    free: Mutex<Vec<Slot>>,
}

impl Datagrams {
    /// Sends a query and waits for its answer, for as long as the caller does.
    ///
    /// # Errors
    ///
    /// What the system says, such as that nobody listens there.
    pub async fn ask(&self, to: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
        let mut slot = match self.take(to) {
            Some(slot) => slot,
            None => Slot::new(to).await?,
        };
        let answer = slot.ask(query).await?;
        // After an error, or when the caller gave up, the socket is gone instead.
        slot.left -= 1;
        if slot.left > 0 {
            let mut free = self.free();
            if free.len() < KEPT {
                free.push(slot);
            }
        }
        Ok(answer)
    }

    fn take(&self, to: SocketAddr) -> Option<Slot> {
        let mut free = self.free();
        while let Some(slot) = free.pop() {
            // The server may have moved.
            if slot.to == to {
                return Some(slot);
            }
        }
        None
    }

    fn free(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.free.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Slot {
    async fn new(to: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Our own choice of port: the kernel's may follow a pattern.
        let mut socket = None;
        for _ in 0..16 {
            let port = rand::random_range(1024..=u16::MAX);
            match UdpSocket::bind((any, port)).await {
                Ok(bound) => {
                    socket = Some(bound);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        let socket = match socket {
            Some(socket) => socket,
            None => UdpSocket::bind((any, 0)).await?,
        };
        socket.connect(to).await?;
        Ok(Self {
            socket,
            to,
            left: USES,
        })
    }

    async fn ask(&self, query: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = vec![0; ROOM];
        loop {
            self.socket.send(query).await?;
            let receiving = async {
                loop {
                    let length = self.socket.recv(&mut answer).await?;
                    if is_answer(query, &answer[..length]) {
                        return io::Result::Ok(length);
                    }
                }
            };
            if let Ok(received) = timeout(AGAIN, receiving).await {
                answer.truncate(received?);
                return Ok(answer);
            }
        }
    }
}

/// Whether a message is the answer to a query, and not a late one to another or a forged one: same
/// identifier, a response, same question.
fn is_answer(query: &[u8], answer: &[u8]) -> bool {
    if answer.len() < HEADER || answer[..2] != query[..2] || answer[2] & 0x80 == 0 {
        return false;
    }
    // A refusal may come without the question.
    if answer[4..6] == [0, 0] {
        return answer[3] & 0x0f != 0;
    }
    let question = |message: &[u8]| {
        let name = Name::read(message.get(HEADER..)?).ok()?;
        let end = HEADER + name.wire().len();
        let kind: [u8; 4] = message.get(end..end + 4)?.try_into().ok()?;
        Some((name, kind))
    };
    question(query).is_some_and(|asked| question(answer) == Some(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{query::write_query, rtype};

    fn query(id: u16, name: &str) -> Vec<u8> {
        write_query(id, &Name::from_text(name).unwrap(), rtype::A, None)
    }

    fn answer(id: u16, name: &str) -> Vec<u8> {
        let mut answer = query(id, name);
        answer[2] |= 0x80;
        answer
    }

    #[test]
    fn rfc5452_9_1_only_the_answer_is_taken() {
        let asked = query(7, "a.example");
        assert!(is_answer(&asked, &answer(7, "a.example")));
        assert!(is_answer(&asked, &answer(7, "A.Example")));
        assert!(!is_answer(&asked, &answer(8, "a.example")));
        assert!(!is_answer(&asked, &answer(7, "b.example")));
        assert!(!is_answer(&asked, &asked));
        assert!(!is_answer(&asked, &answer(7, "a.example")[..20]));
        assert!(!is_answer(&asked, &[]));
        let mut refused = answer(7, "a.example")[..12].to_vec();
        refused[3] = 5;
        refused[4..6].fill(0);
        assert!(is_answer(&asked, &refused));
    }

    #[tokio::test]
    async fn sockets_are_used_again_and_late_answers_are_not() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let mut ports = Vec::new();
            let mut buffer = [0; 512];
            for id in 1..=20u16 {
                let (length, client) = server.recv_from(&mut buffer).await.unwrap();
                ports.push(client.port());
                // A late answer to the query before, another's answer, then the answer.
                let before = answer(id - 1, "x.example");
                server.send_to(&before, client).await.unwrap();
                buffer[2] |= 0x80;
                server.send_to(&buffer[..length], client).await.unwrap();
            }
            ports
        });
        let datagrams = Datagrams::default();
        for id in 1..=20 {
            let got = datagrams.ask(to, &query(id, "x.example")).await.unwrap();
            assert_eq!(got, answer(id, "x.example"));
        }
        let ports = served.await.unwrap();
        assert!(ports.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(datagrams.free().len(), 1);
    }
}
