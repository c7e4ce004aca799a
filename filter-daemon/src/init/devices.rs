//! The devices of this network namespace and their addresses, from getifaddrs(3), and which of them are VLANs, from
//! /proc/net/vlan. Reads only.
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use filter_core::Prefix;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use super::Device;

/// All that are up and no loopback, by name.
///
/// # Errors
/// The system's reason why it lists none.
pub fn all() -> std::io::Result<Vec<Device>> {
    Ok(devices(getifaddrs()?, vlan))
}

/// From one entry per device and address; `vlan` finds the device below a VLAN device, and the tag.
fn devices(
    found: impl Iterator<Item = InterfaceAddress>,
    vlan: impl Fn(&str) -> Option<(String, u16)>,
) -> Vec<Device> {
    let mut devices: BTreeMap<String, Device> = BTreeMap::new();
    for each in found {
        if each.flags.contains(InterfaceFlags::IFF_LOOPBACK)
            || !each.flags.contains(InterfaceFlags::IFF_UP)
        {
            continue;
        }
        let (name, vlan) = match vlan(&each.interface_name) {
            Some((below, vlan)) => (below, Some(vlan)),
            None => (each.interface_name.clone(), None),
        };
        let device = devices.entry(each.interface_name).or_insert(Device {
            name,
            vlan,
            addresses: Vec::new(),
            subnets: Vec::new(),
        });
        let (address, mask) = (each.address.and_then(ip), each.netmask.and_then(ip));
        if let (Some(address), Some(mask)) = (address, mask)
            && let Some(subnet) = subnet(address, mask)
        {
            device.addresses.push(address.into());
            device.subnets.push(subnet);
        }
    }
    devices.into_values().collect()
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(v4.ip().into());
    }
    address.as_sockaddr_in6().map(|v6| v6.ip().into())
}

fn subnet(address: IpAddr, mask: IpAddr) -> Option<Prefix> {
    let length = match mask {
        IpAddr::V4(mask) => u32::from(mask).count_ones(),
        IpAddr::V6(mask) => u128::from(mask).count_ones(),
    };
    format!("{address}/{length}").parse().ok()
}

/// The device below and the tag, if it is a VLAN device: `VID: 100` and `Device: eth0` in its file.
fn vlan(name: &str) -> Option<(String, u16)> {
    let text = fs::read_to_string(format!("/proc/net/vlan/{name}")).ok()?;
    parse_vlan(&text)
}

fn parse_vlan(text: &str) -> Option<(String, u16)> {
    let after = |key: &str| {
        let words = text.split_whitespace();
        words.skip_while(|word| *word != key).nth(1)
    };
    Some((after("Device:")?.to_owned(), after("VID:")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn masks_become_lengths_and_vlan_files_are_read() {
        let subnet = |address: &str, mask: &str| {
            subnet(address.parse().unwrap(), mask.parse().unwrap()).map(|it| it.to_string())
        };
        assert_eq!(
            subnet("203.0.113.1", "255.255.255.0").unwrap(),
            "203.0.113.0/24"
        );
        assert_eq!(
            subnet("203.0.113.1", "255.255.255.255").unwrap(),
            "203.0.113.1/32"
        );
        let v6 = subnet("2001:db8::1", "ffff:ffff:ffff:ffff::");
        assert_eq!(v6.unwrap(), "2001:db8::/64");
        let text = "eth0.100  VID: 100\t REORDER_HDR: 1  dev->priv_flags: 1021\n  total frames received  0\nDevice: eth0\n";
        assert_eq!(parse_vlan(text), Some(("eth0".to_owned(), 100)));
        assert_eq!(parse_vlan("nothing of it"), None);
    }

    #[test]
    fn devices_that_are_up_have_their_addresses_and_vlan_devices_the_one_below() {
        let up = InterfaceFlags::IFF_UP;
        let entry = |name: &str, flags, address: Option<(&str, &str)>| {
            let of = |text: &str| SockaddrStorage::from(SocketAddr::new(text.parse().unwrap(), 0));
            InterfaceAddress {
                interface_name: name.to_owned(),
                flags,
                address: address.map(|(address, _)| of(address)),
                netmask: address.map(|(_, mask)| of(mask)),
                broadcast: None,
                destination: None,
            }
        };
        let (v4, v6) = (
            ("192.0.2.1", "255.255.255.0"),
            ("2001:db8::1", "ffff:ffff:ffff:ffff::"),
        );
        let found = [
            entry("lo", up | InterfaceFlags::IFF_LOOPBACK, Some(v4)),
            entry("down", InterfaceFlags::empty(), Some(v4)),
            entry("eth0.100", up, Some(v4)),
            entry("eth0", up, None),
            entry("eth0.100", up, Some(v6)),
        ];
        let vlan = |name: &str| (name == "eth0.100").then(|| ("eth0".to_owned(), 100));
        let devices = devices(found.into_iter(), vlan);
        let seen: Vec<_> = devices
            .iter()
            .map(|it| (it.name.as_str(), it.vlan, it.subnets.len()))
            .collect();
        assert_eq!(seen, [("eth0", None, 0), ("eth0", Some(100), 2)]);
        let addresses = devices[1].addresses.iter().map(ToString::to_string);
        assert_eq!(addresses.collect::<Vec<_>>(), ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn the_system_lists_its_devices() {
        assert!(all().unwrap().iter().all(|device| device.name != "lo"));
    }
}
