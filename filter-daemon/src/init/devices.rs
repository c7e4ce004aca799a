//! The devices of this network namespace and their addresses, from getifaddrs(3), and which of them are VLANs, from
//! /proc/net/vlan. Reads only.
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use filter_core::Prefix;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use super::Device;

/// All that are up and no loopback, by name.
///
/// # Errors
/// The system's word for why there are none to be had.
pub fn all() -> std::io::Result<Vec<Device>> {
    let mut devices: BTreeMap<String, Device> = BTreeMap::new();
    for each in getifaddrs()? {
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
    Ok(devices.into_values().collect())
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
    fn this_machine_has_devices_and_no_loopback_among_them() {
        let devices = all().unwrap();
        assert!(devices.iter().all(|device| device.name != "lo"));
        let counts = devices
            .iter()
            .map(|it| (it.addresses.len(), it.subnets.len()));
        assert!(
            counts
                .into_iter()
                .all(|(addresses, subnets)| addresses == subnets)
        );
    }
}
