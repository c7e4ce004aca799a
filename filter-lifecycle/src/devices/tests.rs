//! The fold over devices a router has: what is stacked on a port, and what is not.
use super::*;

const PORT: u32 = 2;

fn mac(last: u64) -> Mac {
    Mac::from_bits(0x0200_0000_0000 | last)
}

fn device(name: &str, last: u64) -> Device {
    Device {
        name: name.to_owned(),
        mac: Some(mac(last)),
        ..Device::default()
    }
}

fn on(lower: u32, kind: DeviceKind, device: Device) -> Device {
    Device {
        lower: Some(lower),
        kind,
        ..device
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A port with an address.
fn port() -> Devices {
    let mut devices = Devices::default();
    devices.set(PORT, device("ixp0", 2));
    devices.add_address(PORT, ip("192.0.2.1"), 24);
    devices
}

fn macs(devices: &Devices) -> Vec<u64> {
    let own = devices.own(PORT).unwrap();
    own.macs.iter().map(|mac| mac.bits() & 0xff).collect()
}

fn addresses(devices: &Devices) -> Vec<String> {
    let own = devices.own(PORT).unwrap();
    let each = own.addresses.iter();
    each.map(|((vlans, address), subnet)| {
        format!("{}.{} {address} in {subnet}", vlans.outer, vlans.inner)
    })
    .collect()
}

#[test]
fn a_device_alone_is_its_own_mac_and_addresses_with_their_subnets() {
    let mut devices = port();
    devices.add_address(PORT, ip("2001:db8::1"), 64);
    devices.add_address(PORT, ip("198.51.100.6"), 31);
    assert_eq!(macs(&devices), [2]);
    assert_eq!(
        addresses(&devices),
        [
            "0.0 192.0.2.1 in 192.0.2.0/24",
            "0.0 198.51.100.6 in 198.51.100.6/31",
            "0.0 2001:db8::1 in 2001:db8::/64"
        ]
    );
    assert!(devices.remove_address(PORT, ip("192.0.2.1")));
    assert!(!devices.remove_address(PORT, ip("192.0.2.1")));
    assert_eq!(addresses(&devices).len(), 2);
}

#[test]
fn vlan_devices_receive_under_their_tags_and_more_than_two_not_at_all() {
    let mut devices = port();
    devices.set(3, on(PORT, DeviceKind::Vlan(100), device("ixp0.100", 2)));
    devices.set(4, on(3, DeviceKind::Vlan(7), device("qinq", 4)));
    devices.set(5, on(4, DeviceKind::Vlan(8), device("third", 5)));
    devices.add_address(3, ip("203.0.113.1"), 24);
    devices.add_address(4, ip("203.0.113.129"), 25);
    devices.add_address(5, ip("10.0.0.1"), 8);
    assert_eq!(macs(&devices), [2, 4]);
    assert_eq!(
        addresses(&devices),
        [
            "0.0 192.0.2.1 in 192.0.2.0/24",
            "100.0 203.0.113.1 in 203.0.113.0/24",
            "100.7 203.0.113.129 in 203.0.113.128/25"
        ]
    );
    let places = devices.own(PORT).unwrap().places;
    let tags = |index| places.get(&index).map(|vlans| (vlans.outer, vlans.inner));
    assert_eq!(
        [PORT, 3, 4, 5].map(tags),
        [Some((0, 0)), Some((100, 0)), Some((100, 7)), None]
    );
}

#[test]
fn macvlan_devices_and_unicast_filters_are_own_macs() {
    let mut devices = port();
    devices.set(3, on(PORT, DeviceKind::Stacked, device("vrrp4", 3)));
    devices.add_address(3, ip("192.0.2.254"), 32);
    // A macvlan that went into a container leaves its MAC in the filter.
    devices.set_filters([(PORT, [mac(9), mac(3)].into())].into());
    assert_eq!(macs(&devices), [2, 3, 9]);
    assert_eq!(
        addresses(&devices),
        [
            "0.0 192.0.2.1 in 192.0.2.0/24",
            "0.0 192.0.2.254 in 192.0.2.254/32"
        ]
    );
    // Multicast memberships are in such lists too: they are no device's own.
    devices.set_filters([(PORT, [Mac::from_bits(0x3333_0000_0001)].into())].into());
    assert_eq!(macs(&devices), [2, 3]);
}

#[test]
fn of_a_port_of_a_bridge_the_bridge_and_what_is_on_it_count_but_no_other_port() {
    let mut devices = port();
    let bridge = Device {
        kind: DeviceKind::Bridge,
        ..device("br0", 7)
    };
    devices.set(7, bridge);
    devices.set(8, on(7, DeviceKind::Vlan(5), device("br0.5", 7)));
    devices.add_address(7, ip("198.51.100.1"), 24);
    for (index, name) in [(PORT, "ixp0"), (9, "other")] {
        let port = Device {
            master: Some(7),
            ..device(name, u64::from(index))
        };
        devices.set(index, port);
    }
    devices.add_address(9, ip("10.0.0.9"), 8);
    assert_eq!(macs(&devices), [2, 7]);
    assert_eq!(
        addresses(&devices),
        [
            "0.0 192.0.2.1 in 192.0.2.0/24",
            "0.0 198.51.100.1 in 198.51.100.0/24"
        ]
    );
    assert!(devices.own(PORT).unwrap().members.is_empty());
}

#[test]
fn a_bond_has_its_members_and_each_of_them_the_bonds_facts() {
    let mut devices = Devices::default();
    let bond = Device {
        kind: DeviceKind::Bond,
        ..device("bond0", 2)
    };
    devices.set(PORT, bond);
    devices.add_address(PORT, ip("192.0.2.1"), 24);
    for index in [5, 6] {
        let member = Device {
            master: Some(PORT),
            ..device("eth", 2)
        };
        devices.set(index, member);
    }
    assert_eq!(devices.own(PORT).unwrap().members, [5, 6]);
    let (member, bond) = (devices.own(5).unwrap(), devices.own(PORT).unwrap());
    assert_eq!((member.macs, member.addresses), (bond.macs, bond.addresses));
    let released = Device {
        master: None,
        ..device("eth", 6)
    };
    assert!(devices.set(6, released));
    assert_eq!(devices.own(PORT).unwrap().members, [5]);
}

#[test]
fn what_a_veth_a_tunnel_or_a_vrf_stands_on_receives_nothing_of_it() {
    let mut devices = port();
    devices.set(3, on(PORT, DeviceKind::Other, device("veth-end", 3)));
    devices.set(4, device("vrf-red", 4));
    let in_vrf = Device {
        master: Some(4),
        ..device("ixp0", 2)
    };
    devices.set(PORT, in_vrf);
    devices.add_address(3, ip("10.0.0.3"), 8);
    devices.add_address(4, ip("10.0.0.4"), 32);
    assert_eq!(macs(&devices), [2]);
    assert_eq!(addresses(&devices), ["0.0 192.0.2.1 in 192.0.2.0/24"]);
}

#[test]
fn names_come_and_go_and_the_index_stays() {
    let mut devices = port();
    let renamed = Device {
        altnames: vec!["enp1s0".to_owned()],
        ..device("peering", 2)
    };
    assert!(devices.set(PORT, renamed.clone()));
    assert!(!devices.set(PORT, renamed), "nothing new");
    let found = ["ixp0", "peering", "enp1s0"].map(|name| devices.named(name));
    assert_eq!(found, [None, Some(PORT), Some(PORT)]);
    assert!(devices.own(PORT).is_some());
    assert!(devices.remove(PORT));
    assert_eq!((devices.own(PORT), devices.remove(PORT)), (None, false));
    // One that comes back under the same number has none of the former addresses.
    devices.set(PORT, device("ixp0", 2));
    assert!(addresses(&devices).is_empty());
}

#[test]
fn loops_end() {
    let mut devices = port();
    devices.set(3, on(PORT, DeviceKind::Stacked, device("a", 3)));
    let port = on(3, DeviceKind::Stacked, device("ixp0", 2));
    devices.set(PORT, port);
    assert_eq!(macs(&devices), [2, 3]);
}
