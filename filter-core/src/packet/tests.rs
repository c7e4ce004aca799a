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

/// Bytes with something beside them.
struct Beside<'a>(&'a [u8], Framing);

impl Bytes for Beside<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.read(offset)
    }

    fn length(&self) -> usize {
        self.0.len()
    }

    fn framing(&self) -> Framing {
        self.1
    }
}

#[test]
fn a_tag_beside_the_frame_is_its_first() {
    const C: u16 = TPID_CUSTOMER;
    let lists: [&[(u16, u16)]; 10] = [
        &[(C, 0xe064)],
        &[(C, 0xe000)],
        &[(TPID_SERVICE, 7), (C, 9)],
        &[(C, 0), (C, 9)],
        &[(C, 7), (C, 0)],
        &[(C, 1), (C, 2), (C, 3)],
        &[(C, 0), (C, 7), (C, 0), (C, 9)],
        &[(C, 1), (C, 2), (C, 0), (C, 3)],
        &[(C, 0); 4],
        &[(C, 0); 5],
    ];
    for list in lists {
        let whole = payload(frame(&tags(list), ETHERTYPE_ARP).as_slice());
        let rest = match &list[1..] {
            [] => Vec::new(),
            rest => tags(rest),
        };
        let rest = frame(&rest, ETHERTYPE_ARP);
        let stripped = payload(&Beside(&rest, Framing::Stripped(list[0].1)));
        let shorter = whole.map(|payload| Payload {
            offset: payload.offset - TAG_LEN,
            ..payload
        });
        assert_eq!(stripped, shorter, "{list:?}");
    }
    let two = frame(&tags(&[(C, 2)]), ETHERTYPE_IPV4);
    for len in 12..two.len() {
        let cut = payload(&Beside(&two[..len], Framing::Stripped(1)));
        assert_eq!(cut, Err(Malformed), "{len}");
    }
}

#[test]
fn without_a_link_layer_header_the_packet_starts_with_ip() {
    let bytes = [0x45; 20];
    let bare = Beside(&bytes, Framing::Bare(ETHERTYPE_IPV4));
    let expected = Payload {
        vlans: Vlans::NONE,
        ethertype: ETHERTYPE_IPV4,
        offset: 0,
    };
    assert_eq!(payload(&bare), Ok(expected));
    let macs = mac_pair(&bare).unwrap();
    assert!(macs.destination.is_group());
    assert_eq!(macs.source, Mac::from_bits(0));
    assert!(mac_pair(&Beside(&[], Framing::Bare(0))).is_ok());
}

#[test]
fn the_headers_of_a_super_frame_are_those_before_its_payload() {
    let headers = |ethertype, tagged: &[(u16, u16)], bytes: &[u8]| {
        let tags = match tagged {
            [] => Vec::new(),
            tagged => tags(tagged),
        };
        let whole = [frame(&tags, ethertype), bytes.to_vec()].concat();
        headers_len(whole.as_slice())
    };
    let ipv4 = |words: u8, protocol: u8| {
        let mut header = vec![0; 4 * usize::from(words)];
        (header[0], header[9]) = (0x40 | words, protocol);
        header
    };
    let mut ipv6 = vec![0; 40];
    (ipv6[0], ipv6[6]) = (0x60, PROTOCOL_TCP);
    let mut tcp = vec![0; 32];
    tcp[12] = 8 << 4;
    let with = |ip: &[u8], next: &[u8]| [ip, next].concat();
    let (v4, v6) = (ETHERTYPE_IPV4, ETHERTYPE_IPV6);
    assert_eq!(
        headers(v4, &[], &with(&ipv4(5, PROTOCOL_TCP), &tcp)),
        Some(14 + 20 + 32)
    );
    assert_eq!(
        headers(v4, &[], &with(&ipv4(15, PROTOCOL_UDP), &[])),
        Some(14 + 60 + 8)
    );
    let tag = [(TPID_CUSTOMER, 7)];
    assert_eq!(headers(v6, &tag, &with(&ipv6, &tcp)), Some(18 + 40 + 32));
    assert_eq!(headers(v4, &[], &ipv4(5, PROTOCOL_ICMP)), None);
    assert_eq!(
        headers(v4, &[], &with(&ipv4(5, PROTOCOL_TCP), &tcp[..12])),
        None,
        "cut"
    );
    assert_eq!(headers(ETHERTYPE_ARP, &[], &ipv4(5, PROTOCOL_TCP)), None);
}

#[test]
fn a_super_frame_is_its_segments_with_headers_each() {
    let size = |length, headers, segment, segments| {
        let size = SuperFrame {
            length,
            headers,
            segment,
            segments,
        };
        let Size { packets, bytes } = size.size();
        (packets, bytes)
    };
    assert_eq!(size(3_054, 54, 1_000, 3), (3, 3_162));
    // Not counted by its maker.
    assert_eq!(size(3_054, 54, 1_000, 0), (3, 3_162));
    assert_eq!(size(3_055, 54, 1_000, 0), (4, 3_217));
    assert_eq!(size(1_054, 54, 1_000, 0), (1, 1_054));
    assert_eq!(size(54, 54, 1_000, 0), (1, 54), "no payload at all");
    assert_eq!(size(40, 54, 1_000, 0), (1, 40), "shorter than its headers");
    // Headers that cannot be read are counted once.
    assert_eq!(size(3_054, 0, 1_000, 3), (3, 3_054));
}
