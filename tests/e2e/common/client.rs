//! Asking over plain sockets; hickory-proto reads the answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use taciturn::wire::query::write_query;
use taciturn::wire::{Edns, Name};

/// An answer, read by hickory.
#[derive(Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub message: Message,
}

impl Answer {
    pub fn new(bytes: Vec<u8>) -> Self {
        let message = Message::from_vec(&bytes).expect("a DNS message");
        Self { bytes, message }
    }

    pub fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// The data of the answer records as text.
    pub fn data(&self) -> Vec<String> {
        let answers = self.message.answers.iter();
        answers.map(|record| record.data.to_string()).collect()
    }

    /// The extended errors: code and text.
    pub fn errors(&self) -> Vec<(u16, String)> {
        let Some(edns) = &self.message.edns else {
            return Vec::new();
        };
        let options = edns.options().as_ref().iter();
        options
            .filter_map(|(code, option)| match option {
                EdnsOption::Unknown(_, data) if u16::from(*code) == 15 => {
                    let text = String::from_utf8_lossy(&data[2..]).into_owned();
                    Some((u16::from_be_bytes([data[0], data[1]]), text))
                }
                _ => None,
            })
            .collect()
    }
}

pub fn edns() -> Edns {
    Edns {
        payload: 1232,
        dnssec_ok: false,
    }
}

/// The number of a type by its name.
pub fn type_number(name: &str) -> u16 {
    let number = name
        .parse::<hickory_proto::rr::RecordType>()
        .expect("a type");
    number.into()
}

/// A query message with EDNS.
pub fn query(id: u16, name: &str, kind: &str) -> Vec<u8> {
    let name = Name::from_text(name).expect("a name");
    write_query(id, &name, type_number(kind), Some(edns()))
}

/// Asks over UDP, with EDNS; one repeat for a lost datagram.
pub fn ask(server: SocketAddr, name: &str, kind: &str) -> Answer {
    ask_with(server, &query(rand::random(), name, kind)).expect("an answer")
}

/// Sends these bytes over UDP; `None` when no answer comes within five seconds.
pub fn ask_with(server: SocketAddr, message: &[u8]) -> Option<Answer> {
    raw(server, message, Duration::from_secs(10)).map(Answer::new)
}

/// Sends these bytes over UDP and returns those that come back.
pub fn raw(server: SocketAddr, message: &[u8], limit: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(limit)).expect("a limit");
    socket.send_to(message, server).expect("to send");
    let mut buffer = vec![0; 65_535];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

/// Asks over a TCP connection of its own.
pub fn ask_tcp(server: SocketAddr, name: &str, kind: &str) -> Answer {
    let mut stream = TcpStream::connect(server).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a limit");
    write_frame(&mut stream, &query(rand::random(), name, kind));
    Answer::new(read_frame(&mut stream).expect("an answer"))
}

pub fn write_frame(stream: &mut impl Write, message: &[u8]) {
    let mut frame = (message.len() as u16).to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    stream.write_all(&frame).expect("to write");
    stream.flush().expect("to write");
}

pub fn read_frame(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}
