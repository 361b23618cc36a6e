//! What is current: everything that a change of the configuration replaces.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Client, Source};
use crate::answer::{Designated, LocalRecords};
use crate::cache::Limits;
use crate::device::Devices;
use crate::policy::special::SpecialNames;
use crate::policy::{Networks, RuleSet};
use crate::upstream::Router;
use crate::wire::{Name, Query};

/// The state that queries are answered from.
pub struct Live {
    /// Counts up with every change.
    pub generation: u32,
    /// All rules.
    pub rules: Arc<RuleSet>,
    /// All devices.
    pub devices: Arc<Devices>,
    /// Names that the owner defined.
    pub local: LocalRecords,
    /// Names with a meaning of their own.
    pub special: SpecialNames,
    /// How to reach us encrypted.
    pub designated: Designated,
    /// Who may ask over plain DNS.
    pub access: Networks<()>,
    /// Who may ask over encrypted DNS without being a registered device.
    pub access_encrypted: Networks<()>,
    /// Who answers the rest.
    pub router: Arc<Router>,
    /// How long answers are kept.
    pub limits: Limits,
    /// Renew popular answers ahead of their end.
    pub prefetch: bool,
    /// How long an upstream may take before a stale answer is served.
    pub stale_after: Duration,
    /// Domains whose answers may hold private addresses; `None` when all may.
    pub rebind_allow: Option<Vec<Name>>,
    /// Queries that may wait for an upstream at once.
    pub waiting: Arc<Semaphore>,
    /// Log every lookup.
    pub log_all: bool,
    /// Count clients that are no device under their address.
    pub unnamed_by_address: bool,
}

impl Live {
    /// Whether a client may ask: a device that named itself from anywhere, as long as it is registered,
    /// anybody else from the networks that are let in.
    #[inline]
    pub fn may_ask(&self, source: &Source) -> bool {
        let address = source.address.ip();
        match &source.label {
            Some(label) => self.devices.labelled(label).is_some(),
            None if source.via.is_encrypted() => self.access_encrypted.find(address).is_some(),
            None => self.access.find(address).is_some(),
        }
    }

    /// Whether a client may use what is served besides DNS.
    pub fn may_visit(&self, address: IpAddr) -> bool {
        self.access.find(address).is_some()
    }

    /// Tells a client how to go on encrypted: under the host name of its device, which is welcome from
    /// anywhere, else under the bare one, if its network may come in there.
    pub(super) fn designate(&self, client: &Client, out: &mut Vec<u8>, query: &Query<'_>) {
        let device = client.device.and_then(|id| self.devices.get(id));
        let label = device.and_then(|device| device.label.as_deref());
        let welcome = label.is_some() || self.access_encrypted.find(client.address).is_some();
        self.designated.write(welcome, label, out, query);
    }

    #[inline]
    pub(super) fn identify(&self, source: &Source) -> Client {
        let address = source.address.ip();
        let device = match &source.label {
            Some(label) => self.devices.labelled(label),
            None => self.devices.at(address),
        };
        Client { address, device }
    }

    /// Whether a name lies in a domain with servers of its own.
    #[inline]
    pub fn is_forwarded(&self, name: &Name) -> bool {
        self.router.has_domains() && self.router.domain_of(name).is_some()
    }
}
