//! The one place where the stages meet: identify, decide, answer, inspect, record.
//!
//! [`Resolver::quick`] works on wire bytes and answers all that needs no upstream, without waiting.
//! [`Resolver::answer`] is the general path: it takes every message, waits for upstreams, and goes through
//! the same `own_answer` first, so that the two can only agree.

mod fetch;
mod flight;
mod inspect;
mod live;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hickory_net::xfer::Protocol;
use hickory_proto::op::OpCode;
use hickory_proto::serialize::binary::BinEncodable;
use hickory_server::server::Request;

pub use live::Live;

use crate::answer::{Local, LocalRecords, own};
use crate::cache::{Age, Cache, Entry, Kind};
use crate::device::DeviceId;
use crate::policy::special::Special;
use crate::policy::{Action, Category, HitKind, Tier, Verdict};
use crate::record::{self, Recorder, Tally, unix_millis};
use crate::wire::cookie::{Cookie, Cookies};
use crate::wire::query::Options;
use crate::wire::reply::{self, Ede, Reply, ede};
use crate::wire::{Edns, HEADER, Name, Query, query, rcode};
use flight::Flights;

/// How long upstreams are left alone after one failed to renew an answer, in seconds (RFC 8767 section 5).
const RETRY_STALE: u32 = 30;
/// How long a chain of local aliases may get.
const ALIAS_LIMIT: usize = 8;

/// How a message came, which says what a reply may be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// UDP, with the largest reply in bytes that we send.
    Udp(usize),
    /// A stream, closed when it is idle for that long.
    Tcp(Duration),
    /// An encrypted stream, closed when it is idle for that long.
    Tls(Duration),
    /// HTTPS.
    Https,
    /// QUIC.
    Quic,
}

impl Via {
    fn protocol(self) -> Protocol {
        match self {
            Self::Udp(_) => Protocol::Udp,
            _ => Protocol::Tcp,
        }
    }

    /// Whether nobody on the way can read what is said.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls(_) | Self::Https | Self::Quic)
    }
}

/// Whom a message is from, and how it came.
#[derive(Debug, Clone)]
pub struct Source {
    /// The address.
    pub address: SocketAddr,
    /// The label of a device, when the client named itself by the server name or path that it asked.
    pub label: Option<Arc<str>>,
    /// How the message came.
    pub via: Via,
}

/// What the quick path made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quick {
    /// The reply is in the buffer.
    Answered,
    /// The general path has to look at it.
    Unanswered,
}

/// Room for the notes of [`Resolver::fetch_ahead`], to be used again.
#[derive(Debug, Default)]
pub struct Ahead {
    names: Vec<Name>,
    hashes: Vec<u64>,
}

/// A query's client.
#[derive(Debug, Clone, Copy)]
struct Client {
    address: IpAddr,
    device: Option<DeviceId>,
}

/// A query with whom it is from and the state that it is answered from.
struct Lookup<'a> {
    live: &'a Arc<Live>,
    query: &'a Query<'a>,
    client: Client,
}

impl<'a> Lookup<'a> {
    #[inline]
    fn new(live: &'a Arc<Live>, query: &'a Query<'a>, source: &Source) -> Self {
        let client = live.identify(source);
        Self {
            live,
            query,
            client,
        }
    }
}

/// What [`Resolver::own_answer`] could not answer, and what it found out so far.
enum Open {
    /// A local name that stands for another.
    Alias(Box<Name>),
    /// A question for an upstream, the verdict on its name, and a stale answer to fall back on.
    Ask {
        verdict: Verdict,
        stale: Option<Arc<Entry>>,
    },
}

/// The resolver: what is current, the cache, the upstream queries under way, the record.
pub struct Resolver {
    live: ArcSwap<Live>,
    /// The cache.
    pub cache: Cache,
    flights: Flights,
    cookies: Cookies,
    /// Counts and log.
    pub recorder: Recorder,
}

impl Resolver {
    /// A resolver that starts with `live`.
    pub fn new(live: Live, cache_bytes: u64, recorder: Recorder) -> Self {
        Self {
            live: ArcSwap::from_pointee(live),
            cache: Cache::new(cache_bytes),
            flights: Flights::default(),
            cookies: Cookies::new(rand::random()),
            recorder,
        }
    }

    /// What is current: rules, devices, upstreams, settings.
    pub fn live(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }

    /// Puts a new state in place of the current one; queries under way end with the one they began with.
    pub fn replace(&self, live: Live) {
        self.live.store(Arc::new(live));
    }

    /// Answers a message from its bytes if no upstream has to be asked and it is a plain query. The reply
    /// goes to `out`, the counts to `tally`.
    #[inline]
    pub fn quick(
        self: &Arc<Self>,
        message: &[u8],
        source: &Source,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) -> Quick {
        let Some(query) = Query::parse(message) else {
            return Quick::Unanswered;
        };
        let live = self.live.load();
        match self.own_answer(&live, &query, source, tally, out) {
            Ok(()) => {
                self.fit(out, &query, source);
                Quick::Answered
            }
            Err(_) => Quick::Unanswered,
        }
    }

    /// Has the memory fetched that answering these messages will need: worth it for several at once.
    #[inline]
    pub fn fetch_ahead<'m>(&self, messages: impl Iterator<Item = &'m [u8]>, room: &mut Ahead) {
        let live = self.live.load();
        room.names.clear();
        let names = messages.filter_map(|message| Name::read(message.get(HEADER..)?).ok());
        room.names.extend(names);
        live.rules.fetch_ahead(room.names.iter(), &mut room.hashes);
    }

    /// Answers any message, waiting for upstreams if need be. `None` for what must not be answered.
    pub async fn answer(self: &Arc<Self>, message: &[u8], source: &Source) -> Option<Vec<u8>> {
        // A response is never answered: two servers would answer each other for ever.
        if message.len() < HEADER || message[2] & 0x80 != 0 {
            self.recorder.tally().totals.malformed += 1;
            return None;
        }
        let mut out = Vec::with_capacity(512);
        if let Some(query) = Query::parse(message) {
            self.answer_query(&query, source, &mut out).await;
            self.fit(&mut out, &query, source);
            return Some(out);
        }
        // hickory reads what is unusual, and refuses what is broken.
        match Request::from_bytes(message.to_vec(), source.address, source.via.protocol()) {
            Ok(request) => self.answer_request(&request, source).await,
            Err(_) => {
                self.recorder.tally().totals.malformed += 1;
                let code = match message.get(2) {
                    Some(flags) if flags & 0x78 != 0 => rcode::NOTIMP,
                    _ => rcode::FORMERR,
                };
                reply::error_without_question(&mut out, message, code).then_some(out)
            }
        }
    }

    /// Answers a well-formed message that is not a plain query, or one in an unusual form.
    async fn answer_request(
        self: &Arc<Self>,
        request: &Request,
        source: &Source,
    ) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(512);
        let refuse =
            |out: &mut Vec<u8>, code| reply::error_without_question(out, request.as_slice(), code);
        if request.metadata.op_code != OpCode::Query {
            return refuse(&mut out, rcode::NOTIMP).then_some(out);
        }
        let [asked] = request.queries.queries() else {
            self.recorder.tally().totals.malformed += 1;
            return refuse(&mut out, rcode::FORMERR).then_some(out);
        };
        // The same question in the plain form, so that it takes the same path as any other.
        let Ok(mut question) = asked.original().name().to_bytes() else {
            return refuse(&mut out, rcode::FORMERR).then_some(out);
        };
        let Ok(parsed) = Name::read(&question) else {
            return refuse(&mut out, rcode::FORMERR).then_some(out);
        };
        question.extend_from_slice(&u16::from(asked.query_type()).to_be_bytes());
        question.extend_from_slice(&u16::from(asked.query_class()).to_be_bytes());
        let metadata = &request.metadata;
        let edns = request.edns.as_ref();
        let mut options = Options::default();
        let given: &[_] = edns.map_or(&[], |edns| edns.options().as_ref());
        for (code, option) in given {
            let data = option.to_bytes().unwrap_or_default();
            if options.take(u16::from(*code), &data).is_none() {
                return refuse(&mut out, rcode::FORMERR).then_some(out);
            }
        }
        let query = Query {
            id: metadata.id,
            recursion_desired: metadata.recursion_desired,
            authentic_data: metadata.authentic_data,
            checking_disabled: metadata.checking_disabled,
            question: &question,
            name: parsed,
            qtype: asked.query_type().into(),
            qclass: asked.query_class().into(),
            edns: edns.map(|edns| Edns {
                payload: edns.max_payload(),
                dnssec_ok: edns.flags().dnssec_ok,
            }),
            options,
        };
        if edns.is_some_and(|edns| edns.version() > 0) {
            reply::bad_version(&mut out, &query);
            return Some(out);
        }
        self.answer_query(&query, source, &mut out).await;
        self.fit(&mut out, &query, source);
        Some(out)
    }

    /// The general path of a query.
    async fn answer_query(self: &Arc<Self>, query: &Query<'_>, source: &Source, out: &mut Vec<u8>) {
        let live = self.live.load_full();
        let Err(open) = self.own_answer_alone(&live, query, source, out) else {
            return;
        };
        let Ok(_waiting) = live.waiting.clone().try_acquire_owned() else {
            self.recorder.tally().totals.overloaded += 1;
            return Reply::new(out, query, rcode::SERVFAIL).finish([]);
        };
        match open {
            Open::Alias(target) => self.answer_alias(&live, query, source, *target, out).await,
            Open::Ask { verdict, stale } => {
                let entry = self.ask_upstream(&live, query, stale).await;
                let lookup = Lookup::new(&live, query, source);
                self.serve(&lookup, verdict, &entry, &mut self.recorder.tally(), out);
            }
        }
    }

    /// Answers what needs no upstream. This is the path that has to be fast: no lock, no waiting, no
    /// allocation but for regular expressions and rare events.
    #[inline]
    fn own_answer(
        self: &Arc<Self>,
        live: &Arc<Live>,
        query: &Query<'_>,
        source: &Source,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) -> Result<(), Open> {
        if !live.may_ask(source) {
            tally.totals.refused += 1;
            own::write_prohibited(out, query);
            return Ok(());
        }
        if own::write_unusual(out, query) {
            tally.totals.local += 1;
            return Ok(());
        }
        if let Some(local) = live.local.find(&query.name) {
            return local_answer(local, query, tally, out);
        }
        let lookup = Lookup::new(live, query, source);
        let treatment = live.devices.treatment(lookup.client.device);
        let verdict = live.rules.decide(&treatment.policy, &query.name);
        if verdict.action == Action::Block {
            self.block(&lookup, verdict, None, tally, out);
            return Ok(());
        }
        if !live.is_forwarded(&query.name)
            && let Some(special) = live.special.find(&query.name, query.qtype)
        {
            tally.totals.local += 1;
            match special {
                Special::Designated => live.designate(&lookup.client, out, query),
                special => own::write_special(special, out, query),
            }
            return Ok(());
        }
        let held = self.cache.hold();
        let ask = |stale| Err(Open::Ask { verdict, stale });
        let Some(entry) = held.get(query) else {
            return ask(None);
        };
        let now = self.cache.now();
        match entry.age(now) {
            Age::Fresh => {
                tally.totals.cache_hits += 1;
                entry.mark_used();
                if live.prefetch && entry.wants_renewal(now) {
                    tally.totals.prefetched += u64::from(self.renew(live, query, entry));
                }
            }
            Age::Stale if entry.retry_at.load(Relaxed) > now => tally.totals.stale += 1,
            Age::Stale => return ask(Some(entry.clone())),
            Age::Gone => return ask(None),
        }
        self.serve(&lookup, verdict, entry, tally, out);
        Ok(())
    }

    /// [`own_answer`](Self::own_answer) for one query alone.
    fn own_answer_alone(
        self: &Arc<Self>,
        live: &Arc<Live>,
        query: &Query<'_>,
        source: &Source,
        out: &mut Vec<u8>,
    ) -> Result<(), Open> {
        self.own_answer(live, query, source, &mut self.recorder.tally(), out)
    }

    /// Writes an answer, unless something in it is blocked; counts either way.
    fn serve(
        &self,
        lookup: &Lookup<'_>,
        verdict: Verdict,
        entry: &Entry,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) {
        let (verdict, via) = inspect::inspect(lookup, verdict, entry);
        if verdict.action == Action::Block {
            return self.block(lookup, verdict, via.as_deref(), tally, out);
        }
        entry.write(out, lookup.query, self.cache.now());
        count(lookup, verdict, via.as_deref(), tally);
    }

    fn block(
        &self,
        lookup: &Lookup<'_>,
        verdict: Verdict,
        via: Option<&Name>,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) {
        let rules = &lookup.live.rules;
        let treatment = lookup.live.devices.treatment(lookup.client.device);
        let hit = verdict.hit.as_ref();
        let tier = hit.map(|hit| rules.lists()[usize::from(hit.list)].tier);
        // RFC 8914 sections 4.16 and 4.18: whether the operator decided or the client asked for it.
        let code = match treatment.own || tier == Some(Tier::Own) {
            true => ede::FILTERED,
            false => ede::BLOCKED,
        };
        let text = hit.map_or("", |hit| rules.list_name(hit));
        let error = Ede { code, text };
        if hit.and_then(|hit| rules.category(hit)) == Some(Category::Canary) {
            // A canary says what it has to say only by not existing.
            let mut reply = Reply::new(out, lookup.query, rcode::NXDOMAIN);
            reply.soa(treatment.block.ttl);
            reply.finish([error]);
        } else {
            treatment.block.write(out, lookup.query, error);
        }
        count(lookup, verdict, via, tally);
    }

    /// Answers a local name that stands for another: the alias, then what the other name has.
    async fn answer_alias(
        self: &Arc<Self>,
        live: &Arc<Live>,
        query: &Query<'_>,
        source: &Source,
        target: Name,
        out: &mut Vec<u8>,
    ) {
        self.recorder.tally().totals.local += 1;
        let mut chain = vec![(query.name.clone(), target)];
        while let Some((_, last)) = chain.last()
            && let Some(Local::Alias(next)) = live.local.find(last)
            && chain.len() < ALIAS_LIMIT
        {
            chain.push((last.clone(), (**next).clone()));
        }
        let Some((_, target)) = chain.last().cloned() else {
            return;
        };
        let edns = query.edns;
        let asked = query::write_query(query.id, &target, query.qtype, edns);
        let mut found = Vec::new();
        if let Some(inner) = Query::parse(&asked) {
            match self.own_answer_alone(live, &inner, source, &mut found) {
                Ok(()) => {}
                Err(Open::Alias(_)) => {
                    return Reply::new(out, query, rcode::SERVFAIL).finish([]);
                }
                Err(Open::Ask { verdict, stale }) => {
                    let entry = self.ask_upstream(live, &inner, stale).await;
                    let lookup = Lookup::new(live, &inner, source);
                    let tally = &mut self.recorder.tally();
                    self.serve(&lookup, verdict, &entry, tally, &mut found);
                }
            }
        }
        if !fetch::prepend_aliases(query, &chain, &found, out) {
            Reply::new(out, query, rcode::SERVFAIL).finish([]);
        }
    }

    /// Asks upstreams, falling back on a stale answer when they fail or take long (RFC 8767 section 5).
    async fn ask_upstream(
        self: &Arc<Self>,
        live: &Arc<Live>,
        query: &Query<'_>,
        stale: Option<Arc<Entry>>,
    ) -> Arc<Entry> {
        let (mut flight, joined) = self.fly(live, query);
        {
            let totals = &mut self.recorder.tally().totals;
            totals.cache_misses += 1;
            totals.coalesced += u64::from(joined);
        }
        let Some(stale) = stale else {
            return flight.wait().await.unwrap_or_else(|| {
                let failure = Entry::failure(
                    query,
                    ede::NETWORK_ERROR,
                    String::new(),
                    0,
                    self.cache.now(),
                );
                Arc::new(failure)
            });
        };
        match tokio::time::timeout(live.stale_after, flight.wait()).await {
            Ok(Some(entry)) if entry.kind != Kind::Failure => entry,
            _ => {
                self.recorder.tally().totals.stale += 1;
                let until = self.cache.now() + RETRY_STALE;
                stale.retry_at.store(until, Relaxed);
                stale
            }
        }
    }

    /// Renews an answer in the background; `false` if somebody does already.
    fn renew(self: &Arc<Self>, live: &Arc<Live>, query: &Query<'_>, entry: &Entry) -> bool {
        if entry.renewing.swap(true, Relaxed) {
            return false;
        }
        drop(self.fly(live, query));
        true
    }

    /// Makes a reply fit the way it goes: cut short if it is too long, with a cookie where the client's address
    /// may be forged, with a word on how long the stream stays open, and padded where that hides its length.
    #[inline]
    fn fit(&self, out: &mut Vec<u8>, query: &Query<'_>, source: &Source) {
        let via = source.via;
        let cookie = query.options.cookie.filter(|_| !via.is_encrypted());
        let limit = match via {
            Via::Udp(limit) => query.udp_limit(limit),
            _ => crate::wire::MAX_MESSAGE,
        };
        let reserved = cookie.map_or(0, |_| Cookie::REPLY);
        reply::truncate(out, query, limit - reserved);
        if let Some(cookie) = cookie {
            let data = self
                .cookies
                .reply(&cookie, source.address.ip(), unix_seconds());
            reply::add_cookie(out, &data);
        }
        if let Via::Tcp(idle) | Via::Tls(idle) = via
            && query.options.keepalive
        {
            reply::add_keepalive(out, idle);
        }
        if via.is_encrypted() && query.options.padding {
            reply::pad(out);
        }
    }

    /// Whether a message comes from where it says: it has a cookie that we gave to that address.
    pub fn is_at_home(&self, message: &[u8], client: IpAddr) -> bool {
        Query::parse(message)
            .and_then(|query| query.options.cookie)
            .is_some_and(|cookie| self.cookies.is_valid(&cookie, client, unix_seconds()))
    }

    /// The verdict on a name for a device, as the server would decide; nothing is counted.
    pub fn check(live: &Live, device: Option<DeviceId>, name: &Name) -> Verdict {
        let treatment = live.devices.treatment(device);
        live.rules.decide(&treatment.policy, name)
    }

    /// Waits until no upstream query is under way, for at most `limit`.
    pub async fn drain(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, async {
            while !self.flights.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

/// Now, as cookies count.
fn unix_seconds() -> u32 {
    unix_millis().div_euclid(1000) as u32
}

fn local_answer(
    local: &Local,
    query: &Query<'_>,
    tally: &mut Tally,
    out: &mut Vec<u8>,
) -> Result<(), Open> {
    match local {
        Local::Alias(target) if query.qtype != crate::wire::rtype::CNAME => {
            Err(Open::Alias(target.clone()))
        }
        local => {
            tally.totals.local += 1;
            LocalRecords::write(local, out, query);
            Ok(())
        }
    }
}

#[inline]
fn count(lookup: &Lookup<'_>, verdict: Verdict, via: Option<&Name>, tally: &mut Tally) {
    let Lookup {
        live,
        query,
        client,
    } = lookup;
    tally.totals.decided(verdict.action);
    if !verdict.is_matched() {
        tally.unlisted(live.generation, client.device);
        if !live.log_all {
            return;
        }
    }
    let by_address = live.unnamed_by_address && client.device.is_none();
    tally.note(&record::Lookup {
        client: by_address.then_some(client.address),
        device: client.device,
        name: &query.name,
        qtype: query.qtype,
        verdict,
        via,
        generation: live.generation,
    });
}

/// Whether a verdict lets a name through on purpose, so that its answer is not looked into.
fn is_exception(verdict: &Verdict) -> bool {
    verdict.action == Action::Allow
        && verdict
            .hit
            .is_some_and(|hit| !matches!(hit.kind, HitKind::Network(_)))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
