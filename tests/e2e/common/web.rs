//! A little HTTP: a client for the API, and a server for lists.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// Status and body of a response.
pub type Response = (u16, String);

pub fn get(server: SocketAddr, path: &str) -> std::io::Result<Response> {
    request(server, "GET", path, &[("Host", &server.to_string())])
}

pub fn json(server: SocketAddr, path: &str) -> Value {
    let (status, body) = get(server, path).expect("a response");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

pub fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let bad = || std::io::Error::other("not HTTP");
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(bad)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    // axum sends known lengths; a chunked body would need more reading than this.
    assert!(!head.to_lowercase().contains("chunked"), "{head}");
    Ok((status, body.to_owned()))
}

/// What the list server does with the next requests.
#[derive(Clone)]
pub enum Serve {
    /// 200 with this text, and 304 for whoever has it.
    Text(String),
    /// This status.
    Status(u16),
    /// Closes without a word.
    Close,
    /// Says that so many bytes come, and sends that many.
    Zeros(u64),
}

/// A list server in this process.
pub struct ListServer {
    pub address: SocketAddr,
    pub serve: Arc<Mutex<Serve>>,
    pub statuses: Arc<Mutex<Vec<u16>>>,
}

impl ListServer {
    pub fn start(first: Serve) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            serve: Arc::new(Mutex::new(first)),
            statuses: Arc::default(),
        };
        let (serve, statuses) = (server.serve.clone(), server.statuses.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let now = serve.lock().expect("what to serve").clone();
                if let Ok(status) = answer(stream, &now) {
                    statuses.lock().expect("the statuses").push(status);
                }
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/list.txt", self.address)
    }

    pub fn set(&self, serve: Serve) {
        *self.serve.lock().expect("what to serve") = serve;
    }

    pub fn statuses(&self) -> Vec<u16> {
        self.statuses.lock().expect("the statuses").clone()
    }
}

fn answer(mut stream: TcpStream, serve: &Serve) -> std::io::Result<u16> {
    let mut known = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_lowercase();
        if let Some(etag) = line.strip_prefix("if-none-match: ") {
            known = Some(etag.to_owned());
        }
        if line.is_empty() {
            break;
        }
    }
    let mut send = |status: u16, head: &str, body: &[u8]| {
        let text = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n{head}\r\n");
        stream.write_all(text.as_bytes())?;
        stream.write_all(body)?;
        Ok(status)
    };
    match serve {
        Serve::Text(text) => {
            let etag = format!(
                "\"{:x}\"",
                text.len() * 31 + usize::from(text.as_bytes()[0])
            );
            if known.as_deref() == Some(&etag) {
                return send(304, "", b"");
            }
            let head = format!("ETag: {etag}\r\nContent-Length: {}\r\n", text.len());
            send(200, &head, text.as_bytes())
        }
        Serve::Status(status) => send(*status, "Content-Length: 0\r\n", b""),
        Serve::Close => Ok(0),
        Serve::Zeros(bytes) => {
            send(200, "", b"")?;
            let block = [b'0'; 65_536];
            for _ in 0..bytes.div_ceil(65_536) {
                stream.write_all(&block)?;
            }
            Ok(200)
        }
    }
}
