//! The object differential tests compare with: the same verdict over the kernel's own longest-prefix-match tries.
//! Never what operators run.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod context;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod entry;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod lpm;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod maps;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod skb;
#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod split;

#[cfg(any(target_arch = "bpf", target_os = "linux"))]
mod programs {
    use aya_ebpf::macros::{classifier, xdp};
    use aya_ebpf::programs::{TcContext, XdpContext};

    use crate::context::Buffers;
    use crate::entry;
    use crate::lpm::Tries;
    use crate::skb;
    use crate::split;

    /// The whole verdict over the kernel's tries.
    #[xdp(frags)]
    pub fn bcp38(ctx: XdpContext) -> u32 {
        entry::xdp::<Tries>(&ctx, Buffers::Several)
    }

    /// The same for frames whose headers lie in several buffers.
    #[xdp(frags)]
    pub fn bcp38_split(ctx: XdpContext) -> u32 {
        split::xdp::<Tries>(&ctx)
    }

    /// At tc, on devices whose frames have an Ethernet header.
    #[classifier]
    pub fn bcp38_tc(ctx: TcContext) -> i32 {
        skb::tc::<Tries, true>(&ctx)
    }

    /// At tc, on devices whose packets start with the IP header.
    #[classifier]
    pub fn bcp38_bare(ctx: TcContext) -> i32 {
        skb::tc::<Tries, false>(&ctx)
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
