//! Which addresses are inward: this machine, private networks, and what no sender outside can mean. A destination that was not said to be
//! private is not told there, whatever its name leads to: what stands behind would take the message for a call of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tells whether an address is one of the internet's.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Lets every address be one.
pub(super) fn anywhere(_: IpAddr) -> bool {
    true
}

// https://www.iana.org/assignments/iana-ipv4-special-registry
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocols = (a, b, c) == (192, 0, 0);
    let is_relay = (a, b, c) == (192, 88, 99);
    let is_benchmark = a == 198 && (18..20).contains(&b);
    !(a == 0
        || a >= 240
        || is_shared
        || is_protocols
        || is_relay
        || is_benchmark
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

// https://www.iana.org/assignments/iana-ipv6-special-registry: of 2000::/3 what is no tunnel to an IPv4 address and no documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let [a, b, ..] = address.segments();
    let is_special = a == 0x2001 && (b < 0x200 || b == 0xdb8);
    let is_tunnel = a == 0x2002 || a == 0x3fff;
    (0x2000..0x4000).contains(&a) && !is_special && !is_tunnel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inward_is_known_however_it_is_written() {
        let inward = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
        ];
        for address in inward {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in
            ["1.1.1.1", "100.63.255.255", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "::ffff:1.1.1.1"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
