//! `ip`: lets clients in or keeps them out by their address.
//!
//! The address is the one the gateway established: the peer's, or what a trusted proxy says of it.
//!
//! 1. An address in `deny` is refused, even if `allow` names it too.
//! 2. If `allow` is given, an address outside of it is refused.
//! 3. Everybody else passes.
//!
//! Networks are written as `10.0.0.0/8`, single addresses with or without `/32`. A network with bits beyond its prefix
//! (`10.0.0.1/8`) is refused, since it may mean either. An IPv4 address inside an IPv6 one (`::ffff:10.0.0.1`) counts
//! as the IPv4 address, so `::/0` does not take it in. Networks are merged and sorted once: ten thousand cost a request
//! as little as ten.
//!
//! What the client sees: `403` with the reason `ip-denied`. It is not told which list it met.
//!
//! Caveat: behind another proxy that is not in `trusted-proxies`, every client has that proxy's address.
//!
//! ```toml
//! plugins = [
//!   { ip = { allow = ["10.0.0.0/8", "2001:db8::/32"], deny = ["10.6.6.6"] } },
//! ]
//! ```

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::StatusCode;
use ipnet::{IpNet, Ipv4Net};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;

use crate::exchange::{Exchange, Flow, Refusal};
use crate::hooks::{Hooks, Plugin, Step};
use crate::registry::BuildError;
use crate::text;

/// Settings of `ip`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "Lists")]
#[schemars(!try_from, transparent)]
pub struct Settings(Lists);

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Lists {
    /// Only these networks may pass.
    #[serde(default)]
    allow: Vec<Network>,
    /// These networks may not pass, even if allowed above.
    #[serde(default)]
    deny: Vec<Network>,
}

/// `ip` was given neither list.
#[derive(Debug)]
struct NoNetworks;

impl TryFrom<Lists> for Settings {
    type Error = NoNetworks;

    fn try_from(lists: Lists) -> Result<Self, NoNetworks> {
        let nothing = lists.allow.is_empty() && lists.deny.is_empty();
        if nothing { Err(NoNetworks) } else { Ok(Self(lists)) }
    }
}

impl fmt::Display for NoNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`ip` needs at least one network in `allow` or `deny`, such as allow = [\"10.0.0.0/8\"]")
    }
}

impl Settings {
    /// Makes the plugin.
    pub fn build(&self) -> Result<Ip, BuildError> {
        let Lists { allow, deny } = &self.0;
        let allow = (!allow.is_empty()).then(|| Networks::new(allow));
        Ok(Ip { allow, deny: Networks::new(deny) })
    }
}

/// See the module.
pub struct Ip {
    allow: Option<Networks>,
    deny: Networks,
}

impl Plugin for Ip {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a, Flow> {
        let address = exchange.client.address.to_canonical();
        let allowed = self.allow.as_ref().is_none_or(|allow| allow.contain(address));
        Step::Done(if allowed && !self.deny.contain(address) {
            Flow::Continue
        } else {
            Refusal::new(StatusCode::FORBIDDEN, "ip-denied", "this address may not use this route")
                .into()
        })
    }
}

/// A network as written in the config, an IPv4 one also when it is written inside IPv6.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(transparent)]
struct Network(#[schemars(with = "String")] IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(network), _) => network,
            (_, Ok(address)) => address.into(),
            _ => {
                return Err(format!(
                    "`{text}` is no network; write 10.0.0.0/8, 2001:db8::/32 or an address"
                ));
            }
        };
        if network.addr() != network.network() {
            let (whole, one) = (network.trunc(), network.addr());
            return Err(format!("`{text}` has bits beyond its prefix; write {whole} or {one}"));
        }
        Ok(Self(match (network.addr().to_canonical(), network.prefix_len()) {
            (IpAddr::V4(address), length @ 96..) => {
                Ipv4Net::new(address, length - 96).map_or(network, IpNet::V4)
            }
            _ => network,
        }))
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

/// Networks of both families, made for asking.
struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Networks {
    fn new(networks: &[Network]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for Network(network) in networks {
            match network {
                IpNet::V4(network) => {
                    v4.push((network.network().to_bits(), network.broadcast().to_bits()));
                }
                IpNet::V6(network) => {
                    v6.push((network.network().to_bits(), network.broadcast().to_bits()));
                }
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contain(address.to_bits()),
            IpAddr::V6(address) => self.v6.contain(address.to_bits()),
        }
    }
}

/// First and last address of each range, sorted, none overlapping another: asked by binary search.
struct Ranges<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let overlap = next.0 <= kept.1;
            if overlap {
                kept.1 = kept.1.max(next.1);
            }
            overlap
        });
        Self(ranges.into())
    }

    fn contain(&self, address: T) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= address);
        after > 0 && address <= self.0[after - 1].1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passes(plugin: &Ip, address: &str) -> bool {
        let mut exchange = Exchange::example(http::Request::get("/"));
        exchange.client.address = address.parse().unwrap();
        match plugin.request(&mut exchange).now().unwrap() {
            Flow::Continue => true,
            Flow::Refuse(refusal) => {
                assert_eq!((refusal.status.as_u16(), refusal.reason), (403, "ip-denied"));
                false
            }
            Flow::Respond(_) => panic!("`ip` never answers by itself"),
        }
    }

    fn plugin(settings: &str) -> Ip {
        toml::from_str::<Settings>(settings).unwrap().build().unwrap()
    }

    #[test]
    fn deny_wins_over_allow_and_allow_shuts_out_the_rest() {
        let both = plugin(
            "allow = ['10.0.0.0/8', '192.0.2.1', '2001:db8::/32', '::ffff:172.16.0.0/108']\ndeny = ['10.6.0.0/16', '2001:db8:6::/48']",
        );
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("10.6.0.1", false),
            ("::ffff:10.1.1.1", true),
            ("::ffff:10.6.1.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("172.16.3.4", true),
            ("2001:db8::1", true),
            ("2001:db8:6::1", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(passes(&both, address), expected, "{address}");
        }
    }

    #[test]
    fn a_deny_list_alone_lets_everybody_else_in() {
        let deny = plugin("deny = ['10.0.0.0/8']");
        assert!(passes(&deny, "192.0.2.1"));
        assert!(passes(&deny, "2001:db8::1"));
        assert!(!passes(&deny, "10.0.0.1"));
    }

    #[test]
    fn bad_settings_say_what_would_have_done() {
        for (settings, message) in [
            ("", "needs at least one network"),
            ("allow = []", "needs at least one network"),
            ("allow = ['10.0.0.1/8']", "write 10.0.0.0/8 or 10.0.0.1"),
            ("allow = ['localhost']", "`localhost` is no network"),
            ("allow = ['10.0.0.0/33']", "`10.0.0.0/33` is no network"),
            ("dney = ['10.0.0.0/8']", "unknown field `dney`"),
        ] {
            let error = toml::from_str::<Settings>(settings).unwrap_err().to_string();
            assert!(error.contains(message), "{settings}: {error}");
        }
    }

    proptest! {
        #[test]
        fn merged_ranges_answer_as_the_networks_do(
            networks in prop::collection::vec((any::<u32>(), 4u8..=32), 0..40),
            addresses in prop::collection::vec(any::<u32>(), 1..40),
        ) {
            let networks: Vec<Network> = networks
                .into_iter()
                .map(|(bits, length)| Network(IpNet::V4(Ipv4Net::new(bits.into(), length).unwrap().trunc())))
                .collect();
            let merged = Networks::new(&networks);
            let edges = networks.iter().flat_map(|Network(network)| match network {
                IpNet::V4(network) => [network.network().to_bits(), network.broadcast().to_bits()],
                IpNet::V6(_) => unreachable!(),
            });
            let around = edges.flat_map(|bits| [bits, bits.wrapping_sub(1), bits.wrapping_add(1)]);
            for bits in addresses.into_iter().chain(around.collect::<Vec<_>>()) {
                let address = IpAddr::V4(bits.into());
                let expected = networks.iter().any(|Network(network)| network.contains(&address));
                prop_assert_eq!(merged.contain(address), expected, "{}", address);
            }
        }
    }
}
