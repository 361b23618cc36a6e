//! How many connections there may be, in total and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;

/// Counts connections.
pub struct Limits {
    total: usize,
    per_client: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection's place; dropping it gives the place back.
pub struct Place {
    limits: Arc<Limits>,
    client: IpAddr,
}

impl Limits {
    /// So many connections in total, and from one client.
    pub fn new(total: usize, per_client: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_client,
            open: Mutex::default(),
        })
    }

    /// Takes a place for a connection, if there is one.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = client_of(address);
        let mut open = self.open.lock().unwrap_or_else(|e| e.into_inner());
        let mine = open.by_client.get(&client).copied().unwrap_or(0);
        if open.total >= self.total || mine >= self.per_client {
            return None;
        }
        open.total += 1;
        open.by_client.insert(client, mine + 1);
        Some(Place {
            limits: self.clone(),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(|e| e.into_inner());
        open.total -= 1;
        if let Some(mine) = open.by_client.get_mut(&self.client) {
            *mine -= 1;
            if *mine == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

/// One client has a whole IPv6 network of 64 bits to itself.
pub(super) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpNet::new(v6.into(), 64).map_or(address, |network| network.network()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let limits = Limits::new(3, 2);
        let address = |text: &str| text.parse().unwrap();
        let first = limits.take(address("192.0.2.1")).unwrap();
        let _second = limits.take(address("192.0.2.1")).unwrap();
        assert!(limits.take(address("192.0.2.1")).is_none());
        let _third = limits.take(address("2001:db8::1")).unwrap();
        assert!(limits.take(address("192.0.2.9")).is_none());
        drop(first);
        assert!(limits.take(address("192.0.2.1")).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let limits = Limits::new(9, 1);
        let _first = limits.take("2001:db8::1".parse().unwrap()).unwrap();
        assert!(limits.take("2001:db8::2".parse().unwrap()).is_none());
        assert!(limits.take("2001:db8:0:1::2".parse().unwrap()).is_some());
    }
}
