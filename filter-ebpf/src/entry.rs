//! One packet: find the interface, judge, count, sample, act. The verdict itself is `filter_core`'s.
use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use filter_core::layout::{
    ANY_MAC, Interface, LinkLayer, Network, Rules, SAMPLE_BYTES, SAMPLE_WORDS, Sample, Sender,
    SlotStation, counter_index, station,
};
use filter_core::packet::{self, Bytes, Mac, Size, Vlans};
use filter_core::verdict::{self, Judgement, Listed, Membership, Policy};
use filter_core::{Address, Classes, Family, Reason};

use crate::context::{Buffers, Frame};
use crate::maps::{self, OurInterface};

/// How an engine keeps peers' sets. One value of `Peer` is one generation of one peer.
pub trait Engine {
    /// A peer's sets as they are now. `Option<Peer>` must be one word (a reference or a `NonZero`): of a larger
    /// one the compiler spills the unused part for `None`, and the verifier refuses to read what was never written.
    type Peer: Copy;

    /// The peer in this slot, if its table is published.
    fn open(slot: u32) -> Option<Self::Peer>;
    /// The slot it was opened with.
    fn slot(peer: Self::Peer) -> u32;
    /// See [`Policy::rules`].
    fn rules(peer: Self::Peer) -> Rules;
    /// See [`Policy::membership`].
    fn membership(peer: Self::Peer, source: Address, destination: Address) -> Membership;
    /// See [`Policy::is_source`].
    #[inline(always)]
    fn is_source(peer: Self::Peer, address: Address) -> bool {
        Self::membership(peer, address, address).source
    }
    /// See [`Policy::listed`].
    fn listed(address: Address) -> Listed;
    /// Is what left the peer's sets watched for?
    #[inline(always)]
    fn is_watched(_: Self::Peer) -> bool {
        false
    }
    /// A packet of such a peer, from and to these addresses, is dropped, and by them breaks these classes.
    #[inline(always)]
    fn note_dropped(_: Self::Peer, _source: Address, _destination: Address, _: Classes) {}
}

/// A packet at one of the hooks.
pub trait Packet: Bytes {
    /// Is the hook tc? Where a program is on both hooks of a device, its record names the one that counts.
    const AT_TC: bool;

    /// The index of the device that it came in on.
    fn ifindex(&self) -> u32;
    /// What it was on the wire.
    fn size(&self) -> Size;
    /// How many of its bytes a sample can have.
    fn kept(&self) -> usize;
    /// Sends a sample with this header, but for the time.
    fn sample(&self, header: [u64; 4]);
    /// See [`packet::address_word`].
    fn address_word(&self, index: u64) -> u64;
}

/// The whole program. Returns whether the packet is dropped.
#[inline(always)]
pub fn run<E: Engine, P: Packet>(packet: &P) -> bool {
    let ifindex = packet.ifindex();
    let Some(interface) = maps::interface(ifindex) else {
        let size = packet.size();
        maps::count(counter_index(0, Reason::NoRecord, false), size);
        maps::count_unrecorded(ifindex, size.packets);
        return false;
    };
    let policy = OnInterface::<E> {
        interface,
        engine: core::marker::PhantomData,
    };
    let judgement = verdict::judge(packet, &policy);
    let is_dropped = judgement.action.is_drop();
    if !is_dropped && interface.record.is_counted_at_tc() != P::AT_TC {
        return false; // the other hook counts it
    }
    let slot = judgement.verdict.peer.map_or(interface.slot, E::slot);
    let size = packet.size();
    maps::count(
        counter_index(slot, judgement.verdict.reason, is_dropped),
        size,
    );
    if is_dropped
        && let Some(peer) = judgement.verdict.peer
        && E::is_watched(peer)
        && judgement.verdict.reason.is_of_addresses()
    {
        note_dropped::<E, P>(packet, peer, judgement.verdict.broken);
    }
    if judgement.action.is_violation() && maps::take_sample_token(slot) {
        sample(packet, &judgement, ifindex, slot, size);
    }
    is_dropped
}

/// Has it looked up whether the packet is dropped for what left the peer's sets.
#[inline(always)]
fn note_dropped<E: Engine, P: Packet>(packet: &P, peer: E::Peer, broken: Classes) {
    let of = |family| Classes::sources(family).with(Classes::destinations(family));
    let family = match broken.meets(of(Family::Ipv4)) {
        true => Family::Ipv4,
        false => Family::Ipv6,
    };
    let [from, to] = [0, 2].map(|index| Address {
        family,
        hi: packet.address_word(index),
        lo: packet.address_word(index + 1),
    });
    E::note_dropped(peer, from, to, broken);
}

/// Sends the violation to user space.
#[inline(always)]
fn sample<P: Packet, Q: Copy>(
    packet: &P,
    judgement: &Judgement<Q>,
    ifindex: u32,
    slot: u32,
    size: Size,
) {
    // Read once more: every packet would have to carry them along otherwise.
    let vlans = packet::payload(packet).map_or(Vlans::NONE, |payload| payload.vlans);
    let sample = Sample {
        time_ns: 0,
        ifindex,
        slot,
        length: size.bytes as u32,
        captured: packet.kept().min(SAMPLE_BYTES) as u32,
        vlans,
        reason: judgement.verdict.reason,
        broken: judgement.verdict.broken,
        dropped: judgement.action.is_drop(),
        link: LinkLayer::of(packet.framing()),
        data: [0; SAMPLE_BYTES],
    };
    packet.sample(sample.header());
}

/// Puts a record with this header in the ring.
#[inline(always)]
pub fn send(header: [u64; 4], fill: impl FnOnce(&mut [u64])) {
    maps::sample(|record| {
        let (head, data) = record.split_at_mut(header.len());
        head.copy_from_slice(&header);
        fill(data);
    });
}

/// The first bytes of the frame, zero-padded, in the byte order they have on the wire.
#[inline(always)]
pub fn copy<B: Bytes>(frame: &B, data: &mut [u64]) {
    for (i, word) in data.iter_mut().enumerate().take(SAMPLE_WORDS) {
        *word = match frame.read::<8>(8 * i) {
            Some(bytes) => u64::from_ne_bytes(bytes),
            None => tail(frame, 8 * i),
        };
    }
}

/// Fewer than eight bytes are left.
#[inline(always)]
fn tail<B: Bytes>(frame: &B, offset: usize) -> u64 {
    let mut bytes = [0; 8];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = frame.u8(offset + i).unwrap_or(0);
    }
    u64::from_ne_bytes(bytes)
}

/// The policy for packets of one interface.
struct OnInterface<E> {
    interface: OurInterface,
    engine: core::marker::PhantomData<E>,
}

impl<E: Engine> Policy for OnInterface<E> {
    type Peer = E::Peer;

    #[inline(always)]
    fn interface(&self) -> &Interface {
        self.interface.record
    }

    #[inline(always)]
    fn network(&self, vlans: Vlans) -> Option<&Network> {
        maps::network(self.interface, vlans)
    }

    #[inline(always)]
    fn peer(&self, vlans: Vlans, source: Mac) -> Option<Self::Peer> {
        let of = |mac| maps::peer_slot(station::Key::new(self.interface.slot, vlans, mac));
        let slot = match of(source) {
            Some(slot) => slot,
            None if self.interface.record.is_port() => of(ANY_MAC)?,
            None => return None,
        };
        E::open(slot)
    }

    #[inline(always)]
    fn rules(&self, peer: Self::Peer) -> Rules {
        E::rules(peer)
    }

    #[inline(always)]
    fn membership(&self, peer: Self::Peer, source: Address, destination: Address) -> Membership {
        E::membership(peer, source, destination)
    }

    #[inline(always)]
    fn is_source(&self, peer: Self::Peer, address: Address) -> bool {
        E::is_source(peer, address)
    }

    #[inline(always)]
    fn listed(&self, address: Address) -> Listed {
        E::listed(address)
    }

    #[inline(always)]
    fn admits_icmp_error(&self, peer: Self::Peer, too_big: bool) -> bool {
        maps::take_icmp_token(E::slot(peer), too_big)
    }

    #[inline(always)]
    fn note_on_link<B: Bytes + ?Sized>(&self, frame: &B, source: Address) {
        // Read once more: every packet would have to carry them along otherwise.
        let (Ok(macs), Ok(payload)) = (packet::mac_pair(frame), packet::payload(frame)) else {
            return;
        };
        let station = SlotStation {
            slot: self.interface.slot,
            vlans: payload.vlans,
            mac: macs.source,
        };
        let sender = Sender {
            station,
            address: source,
        };
        maps::note_sender(sender, self.interface.record.is_port());
    }

    #[inline(always)]
    fn peer_in_force(&self, peer: Self::Peer) -> Classes {
        maps::in_force(E::slot(peer))
    }

    #[inline(always)]
    fn interface_in_force(&self) -> Classes {
        maps::in_force(self.interface.slot)
    }
}

/// The whole program in XDP.
#[inline(always)]
pub fn xdp<E: Engine>(ctx: &XdpContext, buffers: Buffers) -> u32 {
    action(run::<E, Frame>(&Frame::new(ctx, buffers)))
}

/// What a program in XDP returns.
#[inline(always)]
pub fn action(is_dropped: bool) -> u32 {
    if is_dropped {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// What the program's clock says now, for user space, whose own clock may be shifted: written over the frame's first
/// bytes.
#[inline(always)]
pub fn tell_ticks(ctx: &XdpContext) -> u32 {
    let start = ctx.data();
    if start + 8 <= ctx.data_end() {
        // SAFETY: the frame is as long as checked just above.
        unsafe { (start as *mut u64).write_unaligned(maps::ticks()) };
    }
    xdp_action::XDP_PASS
}

/// A reachable panic makes this loop reachable, and the verifier refuses the program: no panic goes unseen.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel gives some helpers only to programs that say this.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
