//! What is counted without details, for metrics and status.

use crate::policy::Action;

macro_rules! totals {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts since the start. Plain numbers: each thread has its own, and they are summed when read.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Totals {
            /// Every count with its name and what it means.
            pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc,)*).trim(), self.$name),)*]
            }

            /// Adds another thread's counts.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

totals! {
    /// Queries received over UDP
    udp_queries,
    /// Queries received over TCP
    tcp_queries,
    /// Queries received over TLS
    tls_queries,
    /// Queries received over HTTPS
    https_queries,
    /// Queries received over QUIC
    quic_queries,
    /// Lookups blocked
    blocked,
    /// Lookups recorded
    recorded,
    /// Lookups that no rule acts on
    allowed,
    /// Answers from local records and special-use names
    local,
    /// Answers from the cache
    cache_hits,
    /// Lookups that the cache had no answer for
    cache_misses,
    /// Answers served past their end
    stale,
    /// Answers renewed before their end
    prefetched,
    /// Lookups that joined another's upstream query
    coalesced,
    /// Upstream queries that failed
    upstream_failures,
    /// Queries refused because the client may not ask
    refused,
    /// Queries over UDP turned away because the client asked too fast
    rate_limited,
    /// Messages that could not be read
    malformed,
    /// Queries answered SERVFAIL because too many were waiting
    overloaded,
    /// TCP connections taken
    connections,
    /// TCP connections turned away by a limit
    connections_refused,
    /// TLS handshakes ended because the client asked for a name that is nobody's
    handshakes_refused,
    /// Blocked lookups whose details were dropped
    dropped_blocked,
    /// Recorded lookups whose details were dropped
    dropped_recorded,
    /// Log rows dropped because too many came at once
    dropped_log,
}

impl Totals {
    /// Counts a decision.
    #[inline]
    pub fn decided(&mut self, action: Action) {
        match action {
            Action::Block => self.blocked += 1,
            Action::Record => self.recorded += 1,
            Action::Allow => self.allowed += 1,
        }
    }

    /// Counts a lookup whose details found no room.
    pub fn dropped(&mut self, action: Action, lookups: u64) {
        match action {
            Action::Block => self.dropped_blocked += lookups,
            _ => self.dropped_recorded += lookups,
        }
    }
}
