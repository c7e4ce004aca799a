//! The object operators run: the verdict over compiled tables, once for drivers with multi-buffer frames
//! (kernel 5.18 and later) and once without. Nothing here decides anything.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod context;
#[cfg(target_arch = "bpf")]
mod entry;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod tables;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{macros::xdp, programs::XdpContext};

    use crate::entry::{self, Buffers};
    use crate::tables::Compiled;

    /// For kernels and drivers with multi-buffer frames: jumbo frames are judged from their first buffer.
    #[xdp(frags)]
    pub fn bcp38(ctx: XdpContext) -> u32 {
        entry::run::<Compiled>(&ctx, Buffers::Several)
    }

    /// For kernels before 5.18.
    #[xdp]
    pub fn bcp38_linear(ctx: XdpContext) -> u32 {
        entry::run::<Compiled>(&ctx, Buffers::One)
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("filter-ebpf runs in the kernel: build it with `cargo xtask build-ebpf`");
    std::process::exit(2);
}
