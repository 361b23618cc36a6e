//! Who asks: a source address -> a device, and what is done for it.

use std::net::IpAddr;
use std::sync::Arc;

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
    /// What is done for it.
    pub treatment: Treatment,
}

/// All registered devices, and what is done for clients that are none.
#[derive(Debug, Default)]
pub struct Devices {
    by_address: Networks<DeviceId>,
    devices: Vec<Device>,
    others: Treatment,
}

impl Devices {
    /// Takes the devices with their addresses; `others` is what is done for everybody else.
    pub fn new(devices: Vec<(Device, Vec<IpNet>)>, others: Treatment) -> Self {
        let mut all = Self {
            others,
            ..Self::default()
        };
        for (device, networks) in devices {
            for network in networks {
                all.by_address.add(network, all.devices.len() as DeviceId);
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
