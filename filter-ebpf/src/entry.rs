//! One packet: find the interface, judge, count, sample, act. The verdict itself is `filter_core`'s.
use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    programs::XdpContext,
};
use filter_core::layout::{
    ANY_MAC, Interface, Network, Rules, SAMPLE_BYTES, SAMPLE_WORDS, Sample, counter_index, station,
};
use filter_core::packet::{self, Bytes, Mac, Vlans};
use filter_core::verdict::{self, Judgement, Listed, Membership, Policy};
use filter_core::{Address, Classes, Reason};

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
    /// See [`Policy::listed`].
    fn listed(address: Address) -> Listed;
}

/// The whole program.
#[inline(always)]
pub fn run<E: Engine>(ctx: &XdpContext, buffers: Buffers) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let frame = Frame::new(ctx, buffers);
    let Some(interface) = maps::interface(ifindex) else {
        maps::count(
            counter_index(0, Reason::NoRecord, false),
            frame.length() as u64,
        );
        return xdp_action::XDP_PASS;
    };
    let policy = OnInterface::<E> {
        interface,
        engine: core::marker::PhantomData,
    };
    let judgement = verdict::judge(&frame, &policy);
    let slot = judgement.verdict.peer.map_or(interface.slot, E::slot);
    let length = frame.length() as u64;
    maps::count(
        counter_index(slot, judgement.verdict.reason, judgement.action.is_drop()),
        length,
    );
    if judgement.action.is_violation() && maps::take_sample_token(slot) {
        sample(ctx, &frame, &judgement, ifindex, slot, length);
    }
    if judgement.action.is_drop() {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// Sends the violation to user space.
#[inline(always)]
fn sample<P: Copy>(
    ctx: &XdpContext,
    frame: &Frame,
    judgement: &Judgement<P>,
    ifindex: u32,
    slot: u32,
    length: u64,
) {
    // Read once more: every packet would have to carry them along otherwise.
    let vlans = packet::payload(frame).map_or(Vlans::NONE, |payload| payload.vlans);
    let sample = Sample {
        time_ns: 0,
        ifindex,
        slot,
        length: length as u32,
        captured: frame.len().min(SAMPLE_BYTES) as u32,
        vlans,
        reason: judgement.verdict.reason,
        broken: judgement.verdict.broken,
        dropped: judgement.action.is_drop(),
        data: [0; SAMPLE_BYTES],
    };
    let [_, place, lengths, what] = sample.header();
    bcp38_sample(ctx.ctx, place, lengths, what);
}

/// The rest of it as a global function (kernel 5.6), which the verifier follows once for any arguments and not once
/// for each way that leads to a violation: three words of the record's header; the slot is in the first.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_sample(ctx: *mut xdp_md, place: u64, lengths: u64, what: u64) -> u64 {
    let frame = Frame::new(&XdpContext::new(ctx), Buffers::One);
    let header = [maps::now(), place, lengths, what];
    maps::sample(|record| {
        let (head, data) = record.split_at_mut(header.len());
        head.copy_from_slice(&header);
        copy(&frame, data);
    });
    1
}

/// The first bytes of the frame, zero-padded, in the byte order they have on the wire.
#[inline(always)]
fn copy(frame: &Frame, data: &mut [u64]) {
    for (i, word) in data.iter_mut().enumerate().take(SAMPLE_WORDS) {
        *word = match frame.read::<8>(8 * i) {
            Some(bytes) => u64::from_ne_bytes(bytes),
            None => tail(frame, 8 * i),
        };
    }
}

/// Fewer than eight bytes are left.
#[inline(always)]
fn tail(frame: &Frame, offset: usize) -> u64 {
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
    fn listed(&self, address: Address) -> Listed {
        E::listed(address)
    }

    #[inline(always)]
    fn admits_icmp_error(&self, peer: Self::Peer, too_big: bool) -> bool {
        maps::take_icmp_token(E::slot(peer), too_big)
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
