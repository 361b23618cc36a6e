//! DNS over HTTPS (RFC 8484): GET and POST over HTTP/2 and HTTP/1.1.
//!
//! The path is `/dns-query`, or `/dns-query/LABEL` for a device that cannot be told by its server name.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::stream::Streams;
use crate::device::setup::PATH;
use crate::resolve::{Resolver, Source};
use crate::wire::{MAX_MESSAGE, records};

/// What questions and answers are called (RFC 8484 section 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// How long a client may take to send a question.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// Requests at once on one connection.
const STREAMS: u32 = 100;
/// The longest that all headers of a request may be together, in bytes.
const HEADERS: u32 = 16 << 10;

type Reply = Response<Full<Bytes>>;

/// A connection's state.
struct Connection {
    resolver: Arc<Resolver>,
    source: Source,
    started: Instant,
    /// When the last request came, in milliseconds since the start.
    last: AtomicU64,
}

/// Serves a connection until the client closes it, is idle for too long, or `stop` comes.
pub(super) async fn serve<S>(streams: &Streams, stream: S, source: Source, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = Arc::new(Connection {
        resolver: streams.resolver.clone(),
        source,
        started: Instant::now(),
        last: AtomicU64::new(0),
    });
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let streams_of_it = Requests::default();
    let mut builder = Builder::new(streams_of_it.clone());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(streams.idle)
        .max_buf_size(2 * HEADERS as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut running = FuturesUnordered::new();
    let mut stopping = false;
    loop {
        let both =
            poll_fn(|context| streams_of_it.poll(connection.as_mut(), &mut running, context));
        tokio::select! {
            outcome = both => {
                if let Err(error) = outcome {
                    tracing::debug!("HTTPS with {}: {error}", shared.source.address);
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(streams.idle) => {
                let last = shared.started + Duration::from_millis(shared.last.load(Relaxed));
                if stopping {
                    return;
                }
                if last.elapsed() >= streams.idle {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// A request being answered.
type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers the requests of a connection in the connection's own task: nothing is handed from thread to thread,
/// and what is answered at once leaves head and body together.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<Answering>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, answering: F) {
        lock(&self.0).push(Box::pin(answering));
    }
}

impl Requests {
    /// Drives a connection and its requests until neither can go on; ready when the connection is done.
    fn poll<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        running: &mut FuturesUnordered<Answering>,
        context: &mut Context<'_>,
    ) -> Poll<C::Output> {
        loop {
            if let Poll::Ready(outcome) = connection.as_mut().poll(context) {
                return Poll::Ready(outcome);
            }
            let fresh = std::mem::take(&mut *lock(&self.0));
            let mut moved = !fresh.is_empty();
            running.extend(fresh);
            while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {
                moved = true;
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }
}

fn lock(requests: &Mutex<Vec<Answering>>) -> MutexGuard<'_, Vec<Answering>> {
    requests.lock().unwrap_or_else(|e| e.into_inner())
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        self.last
            .store(self.started.elapsed().as_millis() as u64, Relaxed);
        // All of it is read before anything is judged: a reply that comes before the request's end is taken
        // for a failure by some clients.
        let (head, body) = request.into_parts();
        let body = match read(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal.reply(),
        };
        let Some(source) = self.source(head.uri.path()) else {
            return Refusal(StatusCode::NOT_FOUND, "there is nothing here").reply();
        };
        let message = match question(&head, body) {
            Ok(message) => message,
            Err(refusal) => return refusal.reply(),
        };
        self.resolver.recorder.tally().totals.https_queries += 1;
        match self.resolver.answer(&message, &source).await {
            Some(reply) => dns(reply),
            None => Refusal(StatusCode::BAD_REQUEST, "this is no DNS query").reply(),
        }
    }

    /// Who asks, by the path; `None` for a path that is not ours or a device that is not registered.
    fn source(&self, path: &str) -> Option<Source> {
        let rest = path.strip_prefix(PATH)?;
        let label = match rest.strip_prefix('/') {
            None if rest.is_empty() => return Some(self.source.clone()),
            None => return None,
            Some(label) => label.trim_end_matches('/').to_ascii_lowercase(),
        };
        let live = self.resolver.live();
        live.devices.labelled(&label)?;
        Some(Source {
            label: Some(label.into()),
            ..self.source.clone()
        })
    }
}

/// The body of a request, as long as a DNS message can be.
async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match timeout(BODY_LIMIT, Limited::new(body, MAX_MESSAGE).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a DNS message has at most 65535 bytes",
        )),
        Err(_) => Err(Refusal(
            StatusCode::REQUEST_TIMEOUT,
            "the message took too long",
        )),
    }
}

/// The message of a request (RFC 8484 section 4.1).
fn question(head: &Parts, body: Bytes) -> Result<Bytes, Refusal> {
    let bad = |text| Refusal(StatusCode::BAD_REQUEST, text);
    match head.method {
        Method::GET => {
            let query = head.uri.query().unwrap_or_default();
            let value = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("dns="))
                .ok_or_else(|| bad("the parameter dns is missing"))?;
            let value = value.trim_end_matches('=').as_bytes();
            match BASE64URL_NOPAD.decode(value) {
                Ok(message) if message.len() <= MAX_MESSAGE => Ok(message.into()),
                _ => Err(bad("the parameter dns is not base64url")),
            }
        }
        Method::POST => {
            let media_type = head.headers.get(CONTENT_TYPE);
            match media_type.is_some_and(|value| value == MEDIA_TYPE) {
                true => Ok(body),
                false => Err(Refusal(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "send application/dns-message",
                )),
            }
        }
        _ => Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST")),
    }
}

/// A DNS message as a reply; caches between may keep it as long as its records (RFC 8484 section 5.1), but
/// for nobody else: another device may be answered otherwise.
fn dns(message: Vec<u8>) -> Reply {
    let mut least: Option<u32> = None;
    let _ = records::walk(&message, |record| {
        if record.section != records::Section::Additional {
            least = Some(least.unwrap_or(u32::MAX).min(record.ttl));
        }
    });
    let freshness = match least {
        Some(seconds) => format!("private, max-age={seconds}"),
        None => "no-store".to_owned(),
    };
    let mut reply = Response::new(Full::from(message));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Ok(freshness) = HeaderValue::from_str(&freshness) {
        headers.insert(CACHE_CONTROL, freshness);
    }
    reply
}

/// Why a request is not answered.
struct Refusal(StatusCode, &'static str);

impl Refusal {
    fn reply(self) -> Reply {
        let Self(code, text) = self;
        let mut reply = Response::new(Full::from(format!("{text}\n")));
        *reply.status_mut() = code;
        let headers = reply.headers_mut();
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, kind);
        if code == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        reply
    }
}
