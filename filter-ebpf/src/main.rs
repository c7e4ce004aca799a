//! The object operators run: the verdict over compiled tables, in XDP for drivers with multi-buffer frames (kernel 5.18 and
//! later) and for others, and at tc for devices with Ethernet headers and for others. Nothing here decides anything.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod context;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod entry;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod maps;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod skb;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod split;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod tables;

#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod programs {
    use aya_ebpf::macros::{classifier, xdp};
    use aya_ebpf::programs::{TcContext, XdpContext};

    use crate::context::Buffers;
    use crate::entry;
    use crate::skb;
    use crate::split;
    use crate::tables::Compiled;

    /// For kernels and drivers with multi-buffer frames: judges those whose headers are in the first buffer.
    #[xdp(frags)]
    pub fn bcp38(ctx: XdpContext) -> u32 {
        entry::xdp::<Compiled>(&ctx, Buffers::Several)
    }

    /// Judges the others, which `bcp38` hands over.
    #[xdp(frags)]
    pub fn bcp38_split(ctx: XdpContext) -> u32 {
        split::xdp::<Compiled>(&ctx)
    }

    /// For kernels before 5.18.
    #[xdp]
    pub fn bcp38_linear(ctx: XdpContext) -> u32 {
        entry::xdp::<Compiled>(&ctx, Buffers::One)
    }

    /// At tc, on devices whose frames have an Ethernet header.
    #[classifier]
    pub fn bcp38_tc(ctx: TcContext) -> i32 {
        skb::tc::<Compiled, true>(&ctx)
    }

    /// At tc, on devices whose packets start with the IP header.
    #[classifier]
    pub fn bcp38_bare(ctx: TcContext) -> i32 {
        skb::tc::<Compiled, false>(&ctx)
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
