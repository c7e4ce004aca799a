//! The object benchmarks and differential tests compare with: nothing, the parser alone, and the same verdict
//! over the kernel's own longest-prefix-match tries. Never what operators run.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod context;
#[cfg(target_arch = "bpf")]
mod entry;
#[cfg(target_arch = "bpf")]
mod lpm;
#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
    use filter_core::packet;
    use filter_core::{Family, packet::ETHERTYPE_IPV4};

    use crate::context::Frame;
    use crate::entry::{self, Buffers};
    use crate::lpm::Tries;

    /// The floor: what a packet costs when nothing is asked of it.
    #[xdp(frags)]
    pub fn empty(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    /// The headers are read and nothing is looked up. Drops what is malformed, so the reads stay.
    #[xdp(frags)]
    pub fn parse(ctx: XdpContext) -> u32 {
        let frame = Frame::new(&ctx);
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

    /// The whole verdict over the kernel's tries.
    #[xdp(frags)]
    pub fn bcp38(ctx: XdpContext) -> u32 {
        entry::run::<Tries>(&ctx, Buffers::Several)
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("filter-ebpf runs in the kernel: build it with `cargo xtask build-ebpf`");
    std::process::exit(2);
}
