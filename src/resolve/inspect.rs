//! Looking into answers: names that hide behind CNAME, SVCB and HTTPS records, and listed addresses.

use std::sync::atomic::Ordering::Relaxed;

use super::{Lookup, is_exception};
use crate::cache::Entry;
use crate::policy::{Action, Verdict};
use crate::wire::Name;
use crate::wire::records::{self, Section};

/// The verdict on an answer: the one on its name, or a sterner one on something in it, with the name in
/// the answer that it is about.
///
/// A name that is let through on purpose is not looked into: the owner, or the catalogue, said that it has
/// to work.
#[inline]
pub(super) fn inspect(
    lookup: &Lookup<'_>,
    verdict: Verdict,
    entry: &Entry,
) -> (Verdict, Option<Box<Name>>) {
    let clean = entry.clean_under.load(Relaxed) == lookup.live.generation;
    if clean || is_exception(&verdict) {
        return (verdict, None);
    }
    look(lookup, verdict, entry)
}

fn look(lookup: &Lookup<'_>, mut verdict: Verdict, entry: &Entry) -> (Verdict, Option<Box<Name>>) {
    let live = lookup.live;
    let policy = &live.devices.treatment(lookup.client.device).policy;
    let mut about = None;
    let mut clean = policy.filtering;
    entry.each_target(|target| {
        let found = live.rules.decide(policy, &target);
        clean &= found.hit.is_none();
        if found.action > verdict.action {
            verdict = found;
            about = Some(Box::new(target));
        }
    });
    if live.rules.has_addresses() {
        entry.walk(|record| {
            if record.section != Section::Answer {
                return;
            }
            records::each_address(entry.message(), &record, |address| {
                let found = live.rules.decide_address(policy, address);
                clean &= found.hit.is_none();
                if found.action > verdict.action && found.action != Action::Allow {
                    verdict = found;
                    about = None;
                }
            });
        });
    }
    if clean {
        entry.clean_under.store(live.generation, Relaxed);
    }
    (verdict, about)
}
