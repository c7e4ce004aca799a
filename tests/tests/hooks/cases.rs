//! The case file by the programs at tc: the same reasons and counters as in XDP.
use filter_core::packet::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, MAX_ICMP_ERROR};
use filter_core::{Classes, Reason};
use filter_loader::Shell;
use tests::case;
use tests::engines::{
    Engine, Kernel, Oracle, Tally, every_case_under_every_switch, is_dropped, switches,
};
use tests::kernel::{engines, require_kernel};
use tests::world;

#[test]
fn at_tc_every_case_has_the_same_reason_and_counters() {
    let test = "at_tc_every_case_has_the_same_reason_and_counters";
    if !require_kernel(test) {
        return;
    }
    for &lookup in engines(test) {
        for world in world::ALL {
            every_case_under_every_switch(world, &mut Kernel::at(world, lookup, Shell::Tc));
        }
    }
}

/// A frame as it is when its MACs say nothing: to everybody, from no MAC at all.
fn without_macs(frame: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &[0; 6], &frame[12..]].concat()
}

/// An IP packet without tags: all that a device without an Ethernet header delivers.
fn is_bare(frame: &[u8]) -> bool {
    let ethertype = frame
        .get(12..14)
        .and_then(|bytes| bytes.first_chunk())
        .map(|bytes| u16::from_be_bytes(*bytes));
    matches!(ethertype, Some(ETHERTYPE_IPV4 | ETHERTYPE_IPV6))
}

/// Longer than an ICMP error may be, and not by its IP header, which is what counts where there is no other.
fn is_long_by_padding(frame: &[u8]) -> bool {
    let word = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let said = match frame[14] >> 4 {
        4 => word(16),
        _ => word(18) + 40,
    };
    let length = frame.len() - ETHERNET_LEN;
    length > MAX_ICMP_ERROR && said <= MAX_ICMP_ERROR
}

#[test]
fn without_an_ethernet_header_every_ip_packet_is_judged_as_on_a_port() {
    let test = "without_an_ethernet_header_every_ip_packet_is_judged_as_on_a_port";
    if !require_kernel(test) {
        return;
    }
    let (world, oracle) = (&world::PORT, Oracle::new(&world::PORT));
    for &lookup in engines(test) {
        let mut engine = Kernel::at(world, lookup, Shell::Bare);
        let (mut expected, mut judged) = (Tally::of(world), 0);
        for in_force in switches() {
            engine.set_in_force(in_force);
            let cases = case::all();
            let given = |case: &&case::Case| {
                let frame = &case.frame;
                is_bare(frame) && engine.takes(frame) && !is_long_by_padding(frame)
            };
            let given: Vec<_> = cases.iter().filter(given).collect();
            for case in given {
                let opinion = oracle.verdict(&without_macs(&case.frame));
                let dropped = is_dropped(in_force, opinion.peer, &opinion.broken);
                expected.count(opinion.peer, opinion.reason, dropped, &case.frame);
                let about = format!("{}: {} ({in_force})", engine.name(), case.name);
                assert_eq!(engine.drops(&case.frame), dropped, "{about}");
                assert_eq!(engine.tally(), expected, "{about}");
                judged += 1;
            }
        }
        assert!(judged > 1_000, "{judged}");
        let counted = expected.0.values();
        let kinds: std::collections::BTreeSet<Reason> = counted
            .flat_map(|counters| counters.nonzero().map(|(reason, _)| reason))
            .collect();
        assert!(kinds.len() > 8, "{kinds:?}");
        assert!(
            !kinds.contains(&Reason::NotForUs),
            "nothing says for whom it is"
        );
        engine.set_in_force(Classes::NONE);
    }
}
