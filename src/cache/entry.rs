//! One cached answer.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};

use super::Limits;
use crate::wire::records::{self, Malformed, RecordAt, Section};
use crate::wire::reply::{Ede, ede, write_opt};
use crate::wire::{HEADER, Name, Query, rcode, rtype, u32_at};

/// The TTL of a stale answer, in seconds (RFC 8767 section 4).
const STALE_TTL: u32 = 30;

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records.
    Positive,
    /// NXDOMAIN or NODATA (RFC 2308).
    Negative,
    /// SERVFAIL and the like, or no upstream at all (RFC 9520).
    Failure,
}

/// How an entry stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// To be served.
    Fresh,
    /// To be served only when no upstream answers.
    Stale,
    /// Not to be served.
    Gone,
}

/// A response that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncacheable {
    /// Its bytes make no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It answers another question.
    #[error("the response answers another question")]
    OtherQuestion,
    /// It was cut short even over a stream.
    #[error("the response is truncated")]
    Truncated,
}

/// Uses that are counted.
const MANY_USES: u8 = 3;

/// An answer as it came, without its OPT record, and where its TTLs are.
#[derive(Debug)]
pub struct Entry {
    /// The message, its question in lower case; behind it, two bytes each, the places of the TTLs.
    bytes: Box<[u8]>,
    message_end: u16,
    question_end: u16,
    variant: u8,
    /// What kind of answer it is.
    pub kind: Kind,
    rcode_high: u8,
    /// How often it was served since it came, up to three: what is popular is renewed before it ends.
    hits: AtomicU8,
    /// How often it was served since the last look at who has to go, up to three.
    uses: AtomicU8,
    errors: Box<[(u16, String)]>,
    stored: u32,
    ttl: u32,
    stale: u32,
    /// Somebody is renewing it.
    pub renewing: AtomicBool,
    /// Until when, in seconds of the cache's clock, upstreams are not asked again after a failure to renew.
    pub retry_at: AtomicU32,
    /// The generation of rules under which no rule fits any target; zero for never looked.
    pub clean_under: AtomicU32,
    /// Failures in a row, for the back-off.
    pub failures: u32,
}

impl Entry {
    /// Takes an upstream's response to `query`, at `now` seconds of the cache's clock.
    ///
    /// # Errors
    ///
    /// When the response is malformed, truncated, or answers another question.
    pub fn from_response(
        response: &[u8],
        query: &Query<'_>,
        limits: &Limits,
        now: u32,
    ) -> Result<Self, Uncacheable> {
        let question_end = records::question_end(response)?;
        let same_name = records::read_name(response, HEADER)? == query.name;
        let same_type =
            response[question_end - 4..question_end] == query.question[query.question.len() - 4..];
        // The question has to lie as ours does, or pointers to it would miss.
        let same_length = question_end - HEADER == query.question.len();
        if !(same_name && same_type && same_length) {
            return Err(Uncacheable::OtherQuestion);
        }
        if response[2] & 0x02 != 0 {
            return Err(Uncacheable::Truncated);
        }
        let mut found = Found::default();
        records::walk(response, |record| found.look(response, record))?;
        let mut message = match found.opt {
            None => response.to_vec(),
            Some((start, end, _)) => without(response, start, end)?,
        };
        if found.opt.is_some_and(|(start, _, _)| start < message.len()) {
            // The OPT record stood before others: their places changed.
            found.ttls_at.clear();
            records::walk(&message, |record| found.ttls_at.push(record.ttl_at as u16))?;
        }
        message[..2].fill(0);
        // The client's own spelling is put here when it is served.
        message[HEADER..question_end - 4].copy_from_slice(query.name.wire());
        let code = message[3] & 0x0f;
        let rcode_high = found.opt.map_or(0, |(.., high)| high);
        let kind = match (rcode_high, code) {
            (0, rcode::NXDOMAIN) => Kind::Negative,
            (0, rcode::NOERROR) if found.answers_type(query.qtype) => Kind::Positive,
            (0, rcode::NOERROR) => Kind::Negative,
            _ => Kind::Failure,
        };
        let ttl = match kind {
            Kind::Failure => limits.failure_ttl,
            // RFC 2308 section 5: the lesser of the SOA's TTL and MINIMUM; without an SOA a denial
            // should not be cached, and RFC 9520 lets it stand briefly.
            Kind::Negative => match found.negative_ttl {
                Some(ttl) => ttl.min(limits.negative_max_ttl),
                None => limits.failure_ttl,
            },
            Kind::Positive => found.ttl.unwrap_or(0).clamp(limits.min_ttl, limits.max_ttl),
        };
        for &at in &found.ttls_at {
            let at = usize::from(at);
            let own = u32_at(&message, at).unwrap_or(0);
            let own = if own > i32::MAX as u32 { 0 } else { own };
            let bounded = match kind {
                Kind::Positive => own.clamp(limits.min_ttl, limits.max_ttl),
                Kind::Negative | Kind::Failure => own.min(ttl),
            };
            message[at..at + 4].copy_from_slice(&bounded.to_be_bytes());
        }
        let stale = if kind == Kind::Failure {
            0
        } else {
            limits.stale
        };
        let message_end = message.len() as u16;
        message.extend(found.ttls_at.iter().flat_map(|at| at.to_le_bytes()));
        Ok(Self {
            bytes: message.into(),
            message_end,
            rcode_high,
            errors: found.errors.into(),
            stale,
            ..Self::new(query, question_end as u16, kind, ttl, now)
        })
    }

    fn new(query: &Query<'_>, question_end: u16, kind: Kind, ttl: u32, now: u32) -> Self {
        Self {
            bytes: Box::default(),
            message_end: 0,
            question_end,
            variant: query.variant(),
            kind,
            rcode_high: 0,
            hits: AtomicU8::new(0),
            uses: AtomicU8::new(0),
            errors: Box::default(),
            stored: now,
            ttl,
            stale: 0,
            renewing: AtomicBool::new(false),
            retry_at: AtomicU32::new(0),
            clean_under: AtomicU32::new(0),
            failures: 0,
        }
    }

    /// The answer when no upstream could be asked: SERVFAIL with an EDE that says why, remembered for
    /// `ttl` seconds.
    pub fn failure(query: &Query<'_>, code: u16, text: String, ttl: u32, now: u32) -> Self {
        let mut message = vec![0, 0, 0x80, rcode::SERVFAIL, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(query.name.wire());
        message.extend_from_slice(&query.question[query.question.len() - 4..]);
        let end = message.len() as u16;
        Self {
            bytes: message.into(),
            message_end: end,
            errors: Box::new([(code, text)]),
            ..Self::new(query, end, Kind::Failure, ttl, now)
        }
    }

    /// Whether this is the answer to a question.
    #[inline]
    pub fn answers(&self, query: &Query<'_>) -> bool {
        let question = &self.bytes[HEADER..usize::from(self.question_end)];
        let name = query.name.wire();
        self.variant == query.variant()
            && question.len() == name.len() + 4
            && question[..name.len()] == *name
            && question[name.len()..name.len() + 2] == query.qtype.to_be_bytes()
    }

    /// Marks the answer as served. A popular one is only read.
    #[inline]
    pub fn mark_used(&self) {
        for count in [&self.hits, &self.uses] {
            let n = count.load(Relaxed);
            if n < MANY_USES {
                count.store(n + 1, Relaxed);
            }
        }
    }

    /// How often it was served since the last call, up to three.
    pub(super) fn take_uses(&self) -> u8 {
        self.uses.swap(0, Relaxed)
    }

    /// Makes a failure last, and count, as the next one in a row.
    pub fn failed_again(self, failures: u32, ttl: u32) -> Self {
        Self {
            failures,
            ttl,
            ..self
        }
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        let errors: usize = self.errors.iter().map(|(_, text)| 32 + text.len()).sum();
        size_of::<Self>() + self.bytes.len() + errors
    }

    /// How it stands at `now`.
    #[inline]
    pub fn age(&self, now: u32) -> Age {
        let past = now.saturating_sub(self.stored);
        if past < self.ttl {
            Age::Fresh
        } else if past < self.ttl.saturating_add(self.stale) {
            Age::Stale
        } else {
            Age::Gone
        }
    }

    /// Whether it is worth renewing ahead of its end: popular, and in the last tenth of its life.
    #[inline]
    pub fn wants_renewal(&self, now: u32) -> bool {
        let left = self.ttl.saturating_sub(now.saturating_sub(self.stored));
        self.kind == Kind::Positive
            && left <= self.ttl / 10
            && self.ttl >= 10
            && self.hits.load(Relaxed) >= MANY_USES
            && !self.renewing.load(Relaxed)
    }

    /// The response code's lower four bits.
    pub fn rcode(&self) -> u8 {
        self.bytes[3] & 0x0f
    }

    /// Calls `visit` for every record; the bytes it points into are [`message`](Self::message).
    pub fn walk(&self, visit: impl FnMut(RecordAt)) {
        // It was walked when it came in.
        let _ = records::walk(self.message(), visit);
    }

    /// The message without OPT, its identifier zero.
    pub fn message(&self) -> &[u8] {
        &self.bytes[..usize::from(self.message_end)]
    }

    fn ttls_at(&self) -> impl Iterator<Item = usize> {
        let places = self.bytes[usize::from(self.message_end)..].chunks_exact(2);
        places.map(|at| usize::from(u16::from_le_bytes([at[0], at[1]])))
    }

    /// Calls `visit` with every name that a CNAME, SVCB or HTTPS record of the answer points to.
    pub fn each_target(&self, mut visit: impl FnMut(Name)) {
        self.walk(|record| {
            if record.section == Section::Answer
                && let Some(name) = records::target(self.message(), &record)
            {
                visit(name);
            }
        });
    }

    /// Writes the answer to `query`: the client's identifier, question and bits, TTLs counted down to
    /// `now`, an OPT record if the query had one.
    ///
    /// Past its end the answer gets the TTL and EDE of a stale one (RFC 8767 section 4). A failure that
    /// somebody else's query met gets EDE 13 besides the EDE it came with.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, query: &Query<'_>, now: u32) {
        out.clear();
        out.extend_from_slice(self.message());
        out[..2].copy_from_slice(&query.id.to_be_bytes());
        // QR, RD as asked; AA was the upstream's and is not ours to claim.
        out[2] = 0x80 | u8::from(query.recursion_desired);
        let wants_ad = query.authentic_data || query.dnssec_ok();
        let ad = if wants_ad { self.bytes[3] & 0x20 } else { 0 };
        let cd = if query.checking_disabled { 0x10 } else { 0 };
        out[3] = 0x80 | ad | cd | self.rcode();
        out[HEADER..usize::from(self.question_end)].copy_from_slice(query.question);
        let past = now.saturating_sub(self.stored);
        let stale = past >= self.ttl && self.kind != Kind::Failure && past > 0;
        for at in self.ttls_at() {
            let ttl = u32_at(out, at).unwrap_or(0);
            let ttl = if stale {
                STALE_TTL
            } else {
                ttl.saturating_sub(past)
            };
            out[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
        if query.edns.is_some() {
            let stale = stale.then_some(match self.rcode() {
                rcode::NXDOMAIN => ede::STALE_NXDOMAIN,
                _ => ede::STALE_ANSWER,
            });
            let cached = (self.kind == Kind::Failure && past > 0).then_some(ede::CACHED_ERROR);
            let own = stale.into_iter().chain(cached);
            let theirs = self
                .errors
                .iter()
                .map(|(code, text)| Ede { code: *code, text });
            let count = u16::from_be_bytes([out[10], out[11]]) + 1;
            out[10..12].copy_from_slice(&count.to_be_bytes());
            write_opt(
                out,
                query,
                self.rcode_high,
                own.map(|code| Ede { code, text: "" }).chain(theirs),
            );
        }
    }
}

/// What a walk through a response finds.
#[derive(Default)]
struct Found {
    ttls_at: Vec<u16>,
    errors: Vec<(u16, String)>,
    /// The least TTL of the answer section.
    ttl: Option<u32>,
    negative_ttl: Option<u32>,
    answer_types: Vec<u16>,
    /// Start and end of the OPT record, and the response code's upper bits in it.
    opt: Option<(usize, usize, u8)>,
}

impl Found {
    fn look(&mut self, message: &[u8], record: RecordAt) {
        if record.record_type == rtype::OPT && record.section == Section::Additional {
            self.opt = Some((record.start, record.data.1, message[record.ttl_at]));
            self.errors = records::extended_errors(&message[record.data.0..record.data.1]);
            return;
        }
        if let Ok(at) = u16::try_from(record.ttl_at) {
            self.ttls_at.push(at);
        }
        match record.section {
            Section::Answer => {
                self.ttl = Some(self.ttl.unwrap_or(u32::MAX).min(record.ttl));
                self.answer_types.push(record.record_type);
            }
            Section::Authority if record.record_type == rtype::SOA => {
                let minimum = u32_at(message, record.data.1.saturating_sub(4));
                self.negative_ttl = minimum.map(|minimum| minimum.min(record.ttl));
            }
            _ => {}
        }
    }

    /// Whether the answer holds what was asked for, and not only aliases that lead nowhere.
    fn answers_type(&self, qtype: u16) -> bool {
        self.answer_types
            .iter()
            .any(|found| *found == qtype || qtype == rtype::ANY)
    }
}

/// The message without the record between `start` and `end`, counted one less in the additional section.
///
/// Nearly always OPT comes last and is cut off. Where it does not, names behind it might be pointed to, so
/// the message is taken apart and written anew.
fn without(message: &[u8], start: usize, end: usize) -> Result<Vec<u8>, Malformed> {
    if end == message.len() {
        let mut cut = message[..start].to_vec();
        let count = u16::from_be_bytes([cut[10], cut[11]]).saturating_sub(1);
        cut[10..12].copy_from_slice(&count.to_be_bytes());
        return Ok(cut);
    }
    let mut parsed = hickory_proto::op::Message::from_vec(message).map_err(|_| Malformed)?;
    parsed.edns = None;
    parsed.to_vec().map_err(|_| Malformed)
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
