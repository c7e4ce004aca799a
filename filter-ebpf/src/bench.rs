//! The object benchmarks run: the floors, and the verdict over either engine, on one repeated frame and on ever new
//! ones. Never what operators run, and no part of what they run.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod context;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod entry;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod frames;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod lpm;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod maps;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod tables;

#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod programs {
    use aya_ebpf::{
        bindings::{TC_ACT_UNSPEC, xdp_action},
        macros::{classifier, xdp},
        programs::{TcContext, XdpContext},
    };
    use filter_core::packet;
    use filter_core::{Family, packet::ETHERTYPE_IPV4};

    use crate::context::{Buffers, Frame};
    use crate::entry;
    use crate::frames;
    use crate::lpm::Tries;
    use crate::tables::Compiled;

    /// The floor: what a packet costs when nothing is asked of it.
    #[xdp(frags)]
    pub fn empty(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    /// The floor at tc, under the name that the loader attaches there.
    #[classifier]
    pub fn bcp38_tc(_ctx: TcContext) -> i32 {
        TC_ACT_UNSPEC
    }

    /// The headers are read and nothing is looked up. Drops what is malformed, so the reads stay.
    #[xdp(frags)]
    pub fn parse(ctx: XdpContext) -> u32 {
        let frame = Frame::new(&ctx, Buffers::One);
        let Ok(payload) = packet::payload(&frame) else {
            return xdp_action::XDP_DROP;
        };
        let family = if payload.ethertype == ETHERTYPE_IPV4 {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        match packet::ip(&frame, family, payload.offset) {
            Ok(ip) if ip.source != ip.destination => xdp_action::XDP_PASS,
            _ => xdp_action::XDP_DROP,
        }
    }

    /// The whole program, as operators run it.
    #[xdp(frags)]
    pub fn tables_hot(ctx: XdpContext) -> u32 {
        entry::xdp::<Compiled>(&ctx, Buffers::Several)
    }

    /// The whole program over the kernel's tries.
    #[xdp(frags)]
    pub fn lpm_hot(ctx: XdpContext) -> u32 {
        entry::xdp::<Tries>(&ctx, Buffers::Several)
    }

    /// What it costs to have another frame each time.
    #[xdp(frags)]
    pub fn control_replay(ctx: XdpContext) -> u32 {
        frames::next(&ctx);
        xdp_action::XDP_PASS
    }

    /// `tables_hot`, on another frame each time.
    #[xdp(frags)]
    pub fn tables_replay(ctx: XdpContext) -> u32 {
        let action = entry::xdp::<Compiled>(&ctx, Buffers::Several);
        frames::next(&ctx);
        action
    }

    /// `lpm_hot`, on another frame each time.
    #[xdp(frags)]
    pub fn lpm_replay(ctx: XdpContext) -> u32 {
        let action = entry::xdp::<Tries>(&ctx, Buffers::Several);
        frames::next(&ctx);
        action
    }

    /// Says what the clock of the lease shows.
    #[xdp]
    pub fn bcp38_clock(ctx: XdpContext) -> u32 {
        entry::tell_ticks(&ctx)
    }
}

/// For the BPF target there is none. Elsewhere the crate is compiled to be checked, not to be run.
#[cfg(not(target_arch = "bpf"))]
fn main() -> std::process::ExitCode {
    eprintln!("this program runs in the kernel: `cargo xtask build-ebpf` builds it");
    std::process::ExitCode::from(2)
}
