//! Who asks: a source address, or the label that a client named itself by -> a device, and what is done for it.

pub mod setup;

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;
use ipnet::IpNet;

use crate::answer::BlockAnswer;
use crate::policy::{Networks, Policy};

/// The number of a registered device.
pub type DeviceId = u16;

/// What is done for a device, or for everybody without one.
#[derive(Debug, Clone, Default)]
pub struct Treatment {
    /// What is blocked, recorded, left alone.
    pub policy: Policy,
    /// How a blocked name is answered.
    pub block: BlockAnswer,
    /// Whether the device was given a policy of its own: its block answers then say that they were asked
    /// for (RFC 8914 section 4.18).
    pub own: bool,
}

/// A registered device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name in counts and log.
    pub name: Arc<str>,
    /// The first label of the host name that is its alone, in lower case.
    pub label: Option<Arc<str>>,
    /// What is done for it.
    pub treatment: Treatment,
}

/// Who a server name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The device with this label.
    Device(Arc<str>),
    /// Anybody: the bare host name, or none.
    Anybody,
}

/// All registered devices, and what is done for clients that are none.
#[derive(Debug, Default)]
pub struct Devices {
    by_address: Networks<DeviceId>,
    by_label: HashMap<Arc<str>, DeviceId>,
    devices: Vec<Device>,
    others: Treatment,
    hostname: Option<Box<str>>,
}

impl Devices {
    /// Takes the devices with their addresses; `others` is what is done for everybody else. Below `hostname`
    /// every device with a label has a host name of its own.
    pub fn new(
        devices: Vec<(Device, Vec<IpNet>)>,
        others: Treatment,
        hostname: Option<&str>,
    ) -> Self {
        let mut all = Self {
            others,
            hostname: hostname.map(|name| name.to_ascii_lowercase().into()),
            ..Self::default()
        };
        for (device, networks) in devices {
            let id = all.devices.len() as DeviceId;
            for network in networks {
                all.by_address.add(network, id);
            }
            if let Some(label) = &device.label {
                all.by_label.insert(label.clone(), id);
            }
            all.devices.push(device);
        }
        all
    }

    /// The device at an address.
    #[inline]
    pub fn at(&self, address: IpAddr) -> Option<DeviceId> {
        if self.by_address.is_empty() {
            return None;
        }
        self.by_address.find(address).map(|(_, id)| *id)
    }

    /// The device with a label.
    #[inline]
    pub fn labelled(&self, label: &str) -> Option<DeviceId> {
        self.by_label.get(label).copied()
    }

    /// Who a client is that asks for this server name; `None` for a name that is not ours, or that of a
    /// device that is not registered.
    pub fn caller(&self, server_name: Option<&str>) -> Option<Caller> {
        let (Some(asked), Some(hostname)) = (server_name, &self.hostname) else {
            return Some(Caller::Anybody);
        };
        let asked = asked.trim_end_matches('.').to_ascii_lowercase();
        if asked == **hostname {
            return Some(Caller::Anybody);
        }
        let label = asked.strip_suffix(&**hostname)?.strip_suffix('.')?;
        let (label, _) = self.by_label.get_key_value(label)?;
        Some(Caller::Device(label.clone()))
    }

    /// What is done for a device, or for everybody else.
    #[inline]
    pub fn treatment(&self, device: Option<DeviceId>) -> &Treatment {
        match device.and_then(|id| self.devices.get(usize::from(id))) {
            Some(device) => &device.treatment,
            None => &self.others,
        }
    }

    /// A device by its number.
    pub fn get(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(usize::from(id))
    }

    /// The number of the device with this name.
    pub fn by_name(&self, name: &str) -> Option<DeviceId> {
        let at = self
            .devices
            .iter()
            .position(|device| &*device.name == name)?;
        Some(at as DeviceId)
    }

    /// All devices, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter()
    }
}

/// What an unregistered client is counted under: its IPv4 address, or the network of its IPv6 address,
/// whose lower half phones change by the day (RFC 8981).
pub fn unnamed(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) if v6.is_loopback() => v6.to_string(),
        IpAddr::V6(v6) => {
            IpNet::new(v6.into(), 64).map_or_else(|_| v6.to_string(), |n| n.trunc().to_string())
        }
    }
}
