//! The two servers that the benchmark brings along: the ceiling and the upstream.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use taciturn::sys::datagrams::{BatchSocket, Inbox, Outbox};

/// The least that a server of datagrams can do: the query comes back with the QR bit set. Nothing that
/// answers DNS over this kernel's sockets can take less.
pub fn ceiling(address: SocketAddr) {
    serve(address, |query, reply| {
        reply.extend_from_slice(query);
        reply[2] |= 0x80;
    });
}

/// Answers every question with one A record of 192.0.2.1 that may be kept for an hour.
pub fn upstream(address: SocketAddr) {
    // Some forwarders ask over TCP what they were asked over TCP.
    let listener = TcpListener::bind(address).expect("the benchmark's own port is free");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve_stream(stream));
        }
    });
    serve(address, answer);
}

fn serve_stream(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut query, mut out) = (Vec::new(), Vec::new());
    loop {
        let mut length = [0; 2];
        reader.read_exact(&mut length).ok()?;
        query.resize(usize::from(u16::from_be_bytes(length)), 0);
        reader.read_exact(&mut query).ok()?;
        let at = out.len();
        out.extend_from_slice(&[0, 0]);
        if query.len() >= 12 {
            answer(&query, &mut out);
        }
        let length = (out.len() - at - 2) as u16;
        out[at..at + 2].copy_from_slice(&length.to_be_bytes());
        if reader.buffer().is_empty() {
            stream.write_all(&out).ok()?;
            out.clear();
        }
    }
}

/// Appends the answer to a query.
fn answer(query: &[u8], to: &mut Vec<u8>) {
    // Header and question; an OPT record is not answered with one.
    let mut end = 12;
    while query.get(end).is_some_and(|length| *length != 0) {
        end += 1 + usize::from(query[end]);
    }
    let Some(question) = query.get(..end + 5) else {
        return;
    };
    let start = to.len();
    to.extend_from_slice(question);
    let head = &mut to[start..];
    head[2] = 0x80 | (query[2] & 1);
    head[3] = 0x80;
    let asked_for_a = question[end + 1..end + 3] == [0, 1];
    head[4..12].copy_from_slice(&[0, 1, 0, u8::from(asked_for_a), 0, 0, 0, 0]);
    if asked_for_a {
        to.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1]);
    }
}

fn serve(address: SocketAddr, answer: impl Fn(&[u8], &mut Vec<u8>)) {
    let socket = UdpSocket::bind(address).expect("the benchmark's own port is free");
    let socket = BatchSocket::new(socket).expect("a batch socket");
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    loop {
        if socket.receive(&mut inbox).is_err() {
            continue;
        }
        for (query, ends) in inbox.datagrams() {
            if let Some(room) = outbox.room().filter(|_| query.len() >= 12) {
                room.clear();
                answer(query, room);
                outbox.add(ends);
            }
        }
        socket.send(&mut outbox);
    }
}
