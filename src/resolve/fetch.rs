//! From an upstream into the cache.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{RData, Record};
use ipnet::IpNet;

use super::flight::Flight;
use super::{Live, Resolver};
use crate::answer::local::TTL;
use crate::cache::{Age, Entry, Kind, failure_period};
use crate::upstream::{Question, UpstreamError, hickory_name};
use crate::wire::records::{self, Section};
use crate::wire::reply::ede;
use crate::wire::{Name, Query};

impl Resolver {
    /// Starts asking upstreams, or joins a query under way. The work is a task of its own: it ends in the
    /// cache even when the client that began it is gone. Says whether one was joined.
    pub(super) fn fly(self: &Arc<Self>, live: &Arc<Live>, query: &Query<'_>) -> (Flight, bool) {
        let (flight, pilot) = self.flights.join(query);
        let Some(pilot) = pilot else {
            return (flight, true);
        };
        let resolver = self.clone();
        let live = live.clone();
        let asked = Asked {
            question: query.question.to_vec(),
            outline: Query {
                question: &[],
                ..query.clone()
            },
        };
        tokio::spawn(async move {
            let query = asked.query();
            let entry = Arc::new(resolver.fetch(&live, &query).await);
            resolver.keep(&query, &entry);
            resolver.flights.land(pilot, entry);
        });
        (flight, false)
    }

    /// Asks and reads the answer; a failure becomes an answer that says so.
    async fn fetch(&self, live: &Live, query: &Query<'_>) -> Entry {
        let question = Question::of(query);
        let outcome = live.router.ask(&question).await;
        let now = self.cache.now();
        let entry = match outcome {
            Ok(response) => {
                let response = without_private(live, query, response);
                Entry::from_response(&response, query, &live.limits, now)
                    .map_err(|error| (ede::NETWORK_ERROR, error.to_string()))
            }
            Err(error) => Err((code_of(&error), error.to_string())),
        };
        let entry = entry.unwrap_or_else(|(code, text)| {
            tracing::debug!(name = %query.name, "no answer: {text}");
            Entry::failure(query, code, text, live.limits.failure_ttl, now)
        });
        if entry.kind != Kind::Failure {
            return entry;
        }
        self.recorder.tally().totals.upstream_failures += 1;
        let before = self
            .cache
            .get(query)
            .filter(|old| old.kind == Kind::Failure);
        let failures = before.map_or(0, |old| old.failures + 1);
        let period = failure_period(live.limits.failure_ttl, failures);
        entry.failed_again(failures, period.as_secs() as u32)
    }

    /// Puts an answer into the cache, but no failure over an answer that can still be served.
    fn keep(&self, query: &Query<'_>, entry: &Arc<Entry>) {
        if entry.kind == Kind::Failure
            && let Some(old) = self.cache.get(query)
            && old.kind != Kind::Failure
            && old.age(self.cache.now()) != Age::Gone
        {
            old.renewing.store(false, Relaxed);
            return;
        }
        self.cache.insert(query, entry.clone());
    }
}

/// A query that owns its bytes.
struct Asked {
    question: Vec<u8>,
    outline: Query<'static>,
}

impl Asked {
    fn query(&self) -> Query<'_> {
        Query {
            question: &self.question,
            ..self.outline.clone()
        }
    }
}

fn code_of(error: &UpstreamError) -> u16 {
    match error {
        UpstreamError::Bogus(_) => ede::DNSSEC_BOGUS,
        UpstreamError::Network { .. } => ede::NETWORK_ERROR,
        UpstreamError::Timeout { .. }
        | UpstreamError::Bootstrap { .. }
        | UpstreamError::NoServer => ede::NO_REACHABLE_AUTHORITY,
    }
}

/// Rebinding protection: an answer for a public name without the private addresses in it. Domains with
/// servers of their own and those that the owner lists may have them.
fn without_private(live: &Live, query: &Query<'_>, response: Vec<u8>) -> Vec<u8> {
    let Some(allowed) = &live.rebind_allow else {
        return response;
    };
    let exempt = allowed.iter().any(|domain| query.name.is_within(domain));
    if exempt || live.is_forwarded(&query.name) {
        return response;
    }
    let mut private = Vec::new();
    let mut number = 0;
    let walked = records::walk(&response, |record| {
        if record.section == Section::Answer {
            let mut found = false;
            records::each_address(&response, &record, |address| found |= is_private(address));
            if found {
                private.push(number);
            }
            number += 1;
        }
    });
    if walked.is_err() || private.is_empty() {
        return response;
    }
    let Ok(mut message) = Message::from_vec(&response) else {
        return response;
    };
    let mut number = 0;
    message.answers.retain(|_| {
        number += 1;
        !private.contains(&(number - 1))
    });
    tracing::info!(name = %query.name, "private addresses removed from the answer of a public name");
    message.to_vec().unwrap_or(response)
}

/// Addresses that no public name has reason to point to.
fn is_private(address: std::net::IpAddr) -> bool {
    const NETWORKS: [&str; 9] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
    ];
    let address = address.to_canonical();
    let listed = NETWORKS
        .iter()
        .filter_map(|network| network.parse::<IpNet>().ok())
        .any(|network| network.contains(&address));
    listed || address.is_loopback() || address.is_unspecified()
}

/// Writes the answer to `query`: an alias record per link of the chain, then all that `found`, the answer
/// for the chain's last name, holds. Returns `false` when `found` cannot be read.
pub(super) fn prepend_aliases(
    query: &Query<'_>,
    chain: &[(Name, Name)],
    found: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let Ok(mut message) = Message::from_vec(found) else {
        return false;
    };
    message.metadata.id = query.id;
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_desired = query.recursion_desired;
    let aliases = chain.iter().map(|(owner, target)| {
        let data = RData::CNAME(CNAME(hickory_name(target)));
        Record::from_rdata(hickory_name(owner), TTL, data)
    });
    message.answers.splice(0..0, aliases);
    for asked in &mut message.queries {
        asked.set_name(hickory_name(&query.name));
    }
    match message.to_vec() {
        Ok(bytes) => {
            *out = bytes;
            true
        }
        Err(_) => false,
    }
}
