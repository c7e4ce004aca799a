//! MACs and headers: as they are read, cut short, nested, and odd.
use super::*;

#[test]
fn macs_are_read_and_printed_as_on_the_wire() {
    let mac: Mac = "02:00:5E-10:00:fF".parse().unwrap();
    assert_eq!(mac.bytes(), [0x02, 0x00, 0x5e, 0x10, 0x00, 0xff]);
    assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
    assert!(!mac.is_group() && Mac::from_bytes([0x33, 0x33, 0, 0, 0, 1]).is_group());
    for bad in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "2:0:0:0:0:1",
        "02:00:00:00:00:0g",
        "+2:00:00:00:00:01",
    ] {
        assert_eq!(bad.parse::<Mac>(), Err(MacError), "{bad}");
    }
}

fn frame(tags: &[u8], ethertype: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(tags);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame
}

fn tags(list: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, (tpid, control)) in list.iter().enumerate() {
        if place > 0 {
            bytes.extend(tpid.to_be_bytes());
        }
        bytes.extend(control.to_be_bytes());
    }
    [&list[0].0.to_be_bytes()[..], &bytes].concat()
}

#[test]
fn priority_tags_are_no_vlan() {
    const C: u16 = TPID_CUSTOMER;
    const S: u16 = TPID_SERVICE;
    let vlans = |outer, inner| Vlans { outer, inner };
    let cases: [(&[(u16, u16)], Vlans); 8] = [
        (&[(C, 0xe000)], vlans(0, 0)),
        (&[(C, 0xe064)], vlans(100, 0)),
        (&[(S, 7), (C, 9)], vlans(7, 9)),
        (&[(C, 0), (C, 9)], vlans(9, 0)),
        (&[(C, 7), (C, 0)], vlans(7, 0)),
        (&[(C, 0), (C, 0), (C, 0)], vlans(0, 0)),
        (&[(C, 0), (S, 7), (C, 0), (C, 9)], vlans(7, 9)),
        (&[(C, 0), (C, 0), (C, 0), (C, 9)], vlans(9, 0)),
    ];
    let untagged = payload(frame(&[], ETHERTYPE_ARP).as_slice());
    let expected = |vlans, count| {
        Ok(Payload {
            vlans,
            ethertype: ETHERTYPE_ARP,
            offset: 14 + 4 * count,
        })
    };
    assert_eq!(untagged, expected(Vlans::NONE, 0));
    for (list, vlans) in cases {
        let got = payload(frame(&tags(list), ETHERTYPE_ARP).as_slice());
        assert_eq!(got, expected(vlans, list.len()), "{list:?}");
        assert_eq!(Payload::from_word(got.unwrap().word()), got.ok());
    }
}

#[test]
fn a_third_id_a_fifth_tag_and_a_cut_one_are_malformed() {
    const C: u16 = TPID_CUSTOMER;
    let three = frame(&tags(&[(C, 1), (TPID_SERVICE, 2), (C, 3)]), ETHERTYPE_ARP);
    assert_eq!(payload(three.as_slice()), Err(Malformed));
    let late = frame(&tags(&[(C, 1), (C, 2), (C, 0), (C, 3)]), ETHERTYPE_ARP);
    assert_eq!(payload(late.as_slice()), Err(Malformed));
    let five = frame(&tags(&[(C, 0); 5]), ETHERTYPE_ARP);
    assert_eq!(payload(five.as_slice()), Err(Malformed));
    let two = frame(&tags(&[(C, 1), (C, 2)]), ETHERTYPE_IPV4);
    for len in 14..two.len() {
        assert_eq!(payload(&two[..len]), Err(Malformed), "{len}");
    }
}
