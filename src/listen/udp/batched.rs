//! A thread per socket: receive what is there, answer it, send the answers.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{MAX_QUERY, Taken, Worker};
use crate::resolve::Ahead;
use crate::sys::datagrams::{BatchSocket, Ends, Inbox, Outbox};

/// Datagrams from which on it pays to fetch memory for all of them before the first is answered.
const WORTH_LOOKING_AHEAD: usize = 4;

/// Starts the thread. It ends when `stop` comes.
pub(super) fn start(worker: Worker, socket: UdpSocket, stop: CancellationToken) -> io::Result<()> {
    let socket = Arc::new(BatchSocket::new(socket)?);
    let closing = socket.clone();
    worker.tasks.spawn(async move {
        stop.cancelled().await;
        closing.close();
    });
    let tasks = worker.tasks.clone();
    tasks.spawn_blocking(move || serve(&worker, &socket));
    Ok(())
}

fn serve(worker: &Worker, socket: &Arc<BatchSocket>) {
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    let mut ahead = Ahead::default();
    while !socket.is_closed() {
        match socket.receive(&mut inbox) {
            Ok(count) => {
                if count >= WORTH_LOOKING_AHEAD {
                    let messages = inbox.datagrams().map(|(query, _)| query);
                    worker.resolver.fetch_ahead(messages, &mut ahead);
                }
                answer(worker, socket, &inbox, &mut outbox);
                socket.send(&mut outbox);
            }
            Err(error) => tracing::trace!("UDP receive: {error}"),
        }
    }
}

/// Answers what needs no waiting into `outbox`, and has tasks see to the rest.
fn answer(worker: &Worker, socket: &Arc<BatchSocket>, inbox: &Inbox, outbox: &mut Outbox) {
    let resolver = &worker.resolver;
    // Once for all of them: nothing below waits.
    let mut tally = resolver.recorder.tally();
    let now = worker.now();
    for (query, ends) in inbox.datagrams() {
        let Some(room) = outbox.room() else {
            return;
        };
        let query = &query[..query.len().min(MAX_QUERY)];
        let source = worker.source(ends.client);
        match worker.take(query, &source, now, &mut tally, room) {
            Taken::Answered => outbox.add(ends),
            Taken::Later => answer_later(worker, socket, query, ends),
            Taken::Dropped => {}
        }
    }
}

fn answer_later(worker: &Worker, socket: &Arc<BatchSocket>, query: &[u8], ends: Ends) {
    let query = query.to_vec();
    let resolver = worker.resolver.clone();
    let socket = socket.clone();
    let source = worker.source(ends.client);
    worker.tasks.spawn(async move {
        if let Some(reply) = resolver.answer(&query, &source).await
            && let Err(error) = socket.send_one(&reply, ends)
        {
            tracing::trace!("UDP send to {}: {error}", ends.client);
        }
    });
}
