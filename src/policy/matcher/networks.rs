//! Addresses to values: the longest listed network that holds an address.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Up to so many networks are simply gone through, which is faster than a few look-ups by hash.
const FEW: usize = 32;

/// A map from networks to values. Asking a large one goes through the prefix lengths that occur, longest
/// first.
#[derive(Debug, Clone)]
pub struct Networks<V> {
    by_network: HashMap<IpNet, V>,
    lengths: Vec<u8>,
    /// The networks while they are [`FEW`], longest first.
    few: Vec<IpNet>,
}

impl<V> Default for Networks<V> {
    fn default() -> Self {
        Self {
            by_network: HashMap::new(),
            lengths: Vec::new(),
            few: Vec::new(),
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
        if self.by_network.len() < FEW && !self.by_network.contains_key(&network) {
            let longer = |other: &IpNet| other.prefix_len() >= network.prefix_len();
            let at = self.few.partition_point(longer);
            self.few.insert(at, network);
        }
        self.by_network.entry(network).or_insert(value);
    }

    /// The longest network that holds `address`, and its value. An IPv4 address in IPv6 clothing
    /// (`::ffff:192.0.2.1`) counts as IPv4.
    pub fn find(&self, address: IpAddr) -> Option<(IpNet, &V)> {
        let address = address.to_canonical();
        if self.by_network.len() <= FEW {
            let network = self.few.iter().find(|network| network.contains(&address))?;
            return self
                .by_network
                .get_key_value(network)
                .map(|(network, value)| (*network, value));
        }
        self.lengths.iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.by_network.get(&network).map(|value| (network, value))
        })
    }

    /// All networks with their values.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &V)> {
        self.by_network
            .iter()
            .map(|(network, value)| (*network, value))
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

    /// The two ways of finding have to agree.
    #[test]
    fn few_and_many_agree() {
        let text = |n: usize| format!("10.{n}.0.0/{}", 12 + n % 20);
        let mut many = Networks::default();
        for n in 0..200 {
            many.add(text(n).parse().unwrap(), n);
        }
        for first in (0..200).step_by(FEW) {
            let mut few = Networks::default();
            let mut naive: Vec<(IpNet, usize)> = Vec::new();
            for n in first..(first + FEW).min(200) {
                let network: IpNet = text(n).parse().unwrap();
                few.add(network, n);
                if naive.iter().all(|(known, _)| *known != network.trunc()) {
                    naive.push((network.trunc(), n));
                }
            }
            for last in 0..200u8 {
                let address = IpAddr::from([10, last, 0, 1]);
                let fitting = naive
                    .iter()
                    .filter(|(network, _)| network.contains(&address));
                let expected = fitting.max_by_key(|(network, _)| network.prefix_len());
                let found = few.find(address).map(|(network, _)| network);
                assert_eq!(found, expected.map(|(network, _)| *network), "{address}");
            }
        }
        assert!(many.find("10.199.0.1".parse().unwrap()).is_some());
    }

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
