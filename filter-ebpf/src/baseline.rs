//! The object differential tests compare with: the same verdict over the kernel's own longest-prefix-match tries.
//! Never what operators run.
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
    use aya_ebpf::{macros::xdp, programs::XdpContext};

    use crate::entry::{self, Buffers};
    use crate::lpm::Tries;

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
