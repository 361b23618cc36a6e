//! DNS messages on a stream, two length bytes before each (RFC 7766 section 8): pipelined queries, answers as
//! they are ready, limits for the idle and the slow. What carries the stream does not matter here.
//!
//! A connection is one task with a few hundred bytes of buffers while it is idle: a phone keeps its
//! connection open for a long time and says little.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::resolve::{Quick, Resolver, Source};

/// How long a client may take to accept replies before it is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long queries may be worked on: longer than any upstream may take.
const WORK_LIMIT: Duration = Duration::from_secs(60);
/// How often a connection that waits for answers is looked at.
const CHECK: Duration = Duration::from_millis(100);
/// Room for what is read, in bytes: a query or two; more while a client sends many.
const ROOM: usize = 512;
const MUCH_ROOM: usize = 16 << 10;
/// Replies are written at the latest when there are so many bytes of them.
const FULL: usize = 32 << 10;

/// What every connection needs.
#[derive(Clone)]
pub struct Streams {
    /// What answers.
    pub resolver: Arc<Resolver>,
    /// Where tasks for slow answers are tracked.
    pub tasks: TaskTracker,
    /// How long a connection may be idle.
    pub idle: Duration,
    /// Queries of one connection that are worked on at once.
    pub pipeline: usize,
}

/// What is to be written, and what is still worked on.
struct Pending {
    out: Vec<u8>,
    reply: Vec<u8>,
    under_way: usize,
    /// Where replies arrive that took time; there only while there are such, since most connections are idle.
    channel: Option<(mpsc::Sender<Reply>, mpsc::Receiver<Reply>)>,
}

/// Not everything is answered.
type Reply = Option<Vec<u8>>;

impl Streams {
    /// Serves a connection until the client closes it, is idle for too long, or `stop` comes; queries under
    /// way are answered before it ends.
    pub async fn serve<S>(&self, stream: &mut S, source: &Source, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut pending = Pending {
            out: Vec::new(),
            reply: Vec::new(),
            under_way: 0,
            channel: None,
        };
        let mut read = BytesMut::new();
        let mut room = ROOM;
        let mut last = Instant::now();
        let timer = sleep_until(last + self.idle);
        tokio::pin!(timer);
        loop {
            while self.take(&mut read, &mut pending, source) {
                last = Instant::now();
                if flush(stream, &mut pending.out).await.is_err() {
                    return;
                }
            }
            if read.is_empty() {
                // Nothing is held for a client that says nothing.
                read = BytesMut::new();
                pending.reply = Vec::new();
            }
            read.reserve(room);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = pending.landed(), if pending.under_way > 0 => {
                    last = Instant::now();
                    if flush(stream, &mut pending.out).await.is_err() {
                        return;
                    }
                }
                // Past the limit of queries under way the connection is simply not read from.
                received = stream.read_buf(&mut read), if pending.under_way < self.pipeline => {
                    match received {
                        Ok(0) => break,
                        Ok(count) => room = if count >= room { MUCH_ROOM } else { ROOM },
                        Err(_) => return,
                    }
                }
                () = &mut timer => {
                    // A client that waits for answers is not idle, as long as they can still come.
                    let limit = match pending.under_way {
                        0 => self.idle,
                        _ => self.idle.max(WORK_LIMIT),
                    };
                    if last.elapsed() >= limit {
                        break;
                    }
                    let next = last + self.idle;
                    timer.as_mut().reset(next.max(Instant::now() + CHECK));
                }
            }
        }
        while pending.under_way > 0 {
            let landed = timeout(WORK_LIMIT, pending.landed()).await;
            if landed.is_err() || flush(stream, &mut pending.out).await.is_err() {
                return;
            }
        }
        let _ = timeout(WRITE_LIMIT, stream.shutdown()).await;
    }

    /// Takes whole messages out of `read` until there are none, or enough is to be done first. What can be
    /// answered at once is. Returns whether there was any message.
    fn take(&self, read: &mut BytesMut, pending: &mut Pending, source: &Source) -> bool {
        let mut any = false;
        let mut tally = None;
        while pending.under_way < self.pipeline && pending.out.len() < FULL {
            let Some(message) = frame(read) else {
                break;
            };
            any = true;
            let tally = tally.get_or_insert_with(|| self.resolver.recorder.tally());
            match source.via.is_encrypted() {
                true => tally.totals.tls_queries += 1,
                false => tally.totals.tcp_queries += 1,
            }
            let quick = self
                .resolver
                .quick(&message, source, tally, &mut pending.reply);
            match quick {
                Quick::Answered => push(&mut pending.out, &pending.reply),
                Quick::Unanswered => {
                    pending.under_way += 1;
                    let resolver = self.resolver.clone();
                    let channel = &mut pending.channel;
                    let (replies, _) = channel.get_or_insert_with(|| mpsc::channel(self.pipeline));
                    let replies = replies.clone();
                    let source = source.clone();
                    self.tasks.spawn(async move {
                        let reply = resolver.answer(&message, &source).await;
                        let _ = replies.send(reply).await;
                    });
                }
            }
        }
        any
    }
}

impl Pending {
    /// Waits until a query that was worked on is done, and takes its reply and those that came with it.
    async fn landed(&mut self) {
        let Some((_, ready)) = &mut self.channel else {
            return std::future::pending().await;
        };
        let mut next = ready.recv().await;
        while let Some(reply) = next {
            self.under_way -= 1;
            if let Some(reply) = reply {
                push(&mut self.out, &reply);
            }
            next = ready.try_recv().ok();
        }
        if self.under_way == 0 {
            self.channel = None;
        }
    }
}

/// The next whole message.
fn frame(read: &mut BytesMut) -> Option<Bytes> {
    let length = usize::from(u16::from_be_bytes([*read.first()?, *read.get(1)?]));
    if read.len() < 2 + length {
        return None;
    }
    read.advance(2);
    Some(read.split_to(length).freeze())
}

fn push(out: &mut Vec<u8>, reply: &[u8]) {
    let length = u16::try_from(reply.len()).unwrap_or_default();
    if length > 0 {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(reply);
    }
}

/// Writes what is to be written, and gives its room back.
async fn flush<S: AsyncWrite + Unpin>(stream: &mut S, out: &mut Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let writing = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    timeout(WRITE_LIMIT, writing).await??;
    out.clear();
    if out.capacity() > ROOM {
        *out = Vec::new();
    }
    Ok(())
}
