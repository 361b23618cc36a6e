//! Asking other resolvers, carried by hickory-resolver's connections.
//!
//! [`server`] is one upstream with its connection and its speed, [`datagrams`] its sockets for plain DNS, [`pool`] several with fail-over,
//! [`validate`] puts DNSSEC validation before a pool, [`router`] picks the pool for a name, [`bootstrap`]
//! looks up servers that are given by name.
//!
//! hickory's own `NameServerPool` is not used: it turns NXDOMAIN and NODATA into errors that lose the AD bit
//! and the EDE options, and holds denials against the server that gave them.

pub mod bootstrap;
pub mod datagrams;
pub mod pool;
pub mod router;
pub mod server;
pub mod validate;

use std::time::Duration;

use hickory_proto::op::{DnsRequest, DnsRequestOptions, Edns, Message, Query as HickoryQuery};
use hickory_proto::rr::{Name as HickoryName, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

pub use bootstrap::Bootstrap;
pub use pool::Pool;
pub use router::{Router, RouterConfig};

use crate::wire::{Name, Query};

/// The payload size that upstreams may send over UDP, in bytes (RFC 9715).
const PAYLOAD: u16 = 1232;

/// What is asked of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type.
    pub qtype: u16,
    /// DNSSEC records are wanted.
    pub dnssec_ok: bool,
    /// The upstream is not to validate.
    pub checking_disabled: bool,
}

impl Question {
    /// The question of a client's query.
    pub fn of(query: &Query<'_>) -> Self {
        Self {
            name: query.name.clone(),
            qtype: query.qtype,
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.checking_disabled,
        }
    }

    fn hickory_query(&self) -> HickoryQuery {
        HickoryQuery::query(hickory_name(&self.name), RecordType::from(self.qtype))
    }

    /// The question as a message with a fresh random identifier.
    fn request(&self) -> DnsRequest {
        let mut message = Message::query();
        message.add_query(self.hickory_query());
        message.metadata.recursion_desired = true;
        // RFC 6840 section 5.7: asks for AD without asking for the records.
        message.metadata.authentic_data = true;
        message.metadata.checking_disabled = self.checking_disabled;
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_dnssec_ok(self.dnssec_ok);
        message.set_edns(edns);
        let mut options = DnsRequestOptions::default();
        options.edns_set_dnssec_ok = self.dnssec_ok;
        options.edns_payload_len = PAYLOAD;
        DnsRequest::new(message, options)
    }
}

/// Our name as hickory's; both hold the same bytes.
pub(crate) fn hickory_name(name: &Name) -> HickoryName {
    let mut decoder = BinDecoder::new(name.wire());
    HickoryName::read(&mut decoder).unwrap_or_else(|_| HickoryName::root())
}

/// Why no upstream answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// It took too long.
    #[error("{server} did not answer within {limit:?}")]
    Timeout {
        /// The server.
        server: String,
        /// The limit.
        limit: Duration,
    },
    /// The connection failed, or what came over it made no sense.
    #[error("{server}: {reason}")]
    Network {
        /// The server.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server's name could not be looked up.
    #[error("{server}: its name cannot be looked up: {reason}")]
    Bootstrap {
        /// The server.
        server: String,
        /// What happened.
        reason: String,
    },
    /// DNSSEC validation failed.
    #[error("DNSSEC validation failed: {0}")]
    Bogus(String),
    /// There is no server to ask.
    #[error("there is no upstream for this name")]
    NoServer,
}
