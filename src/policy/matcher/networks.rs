//! Addresses to values: the longest listed network that holds an address.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// A map from networks to values; asking goes through the prefix lengths that occur, longest first.
#[derive(Debug, Clone)]
pub struct Networks<V> {
    by_network: HashMap<IpNet, V>,
    lengths: Vec<u8>,
}

impl<V> Default for Networks<V> {
    fn default() -> Self {
        Self {
            by_network: HashMap::new(),
            lengths: Vec::new(),
        }
    }
}

impl<V> Networks<V> {
    /// Adds a network, unless it is there already.
    pub fn add(&mut self, network: IpNet, value: V) {
        let network = network.trunc();
        if let Err(at) = self
            .lengths
            .binary_search_by(|l| network.prefix_len().cmp(l))
        {
            self.lengths.insert(at, network.prefix_len());
        }
        self.by_network.entry(network).or_insert(value);
    }

    /// The longest network that holds `address`, and its value. An IPv4 address in IPv6 clothing
    /// (`::ffff:192.0.2.1`) counts as IPv4.
    pub fn find(&self, address: IpAddr) -> Option<(IpNet, &V)> {
        let address = address.to_canonical();
        self.lengths.iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.by_network.get(&network).map(|value| (network, value))
        })
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.by_network.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_network.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_network_wins() {
        let mut networks = Networks::default();
        for (network, value) in [
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 2),
            ("10.1.2.3/32", 3),
            ("fd00::/8", 4),
        ] {
            networks.add(network.parse().unwrap(), value);
        }
        let find = |text: &str| networks.find(text.parse().unwrap()).map(|(_, v)| *v);
        assert_eq!(find("10.9.0.1"), Some(1));
        assert_eq!(find("10.1.9.9"), Some(2));
        assert_eq!(find("10.1.2.3"), Some(3));
        assert_eq!(find("::ffff:10.1.2.3"), Some(3));
        assert_eq!(find("fd12::1"), Some(4));
        assert_eq!(find("192.0.2.1"), None);
    }
}
