//! BPF array maps in our own memory. Never knows what they hold.
use std::os::fd::{AsFd, AsRawFd};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use memmap2::{MmapOptions, MmapRaw};

use crate::error::Error;

/// Maps the first `bytes` of an array made with BPF_F_MMAPABLE (kernel 5.5). The kernel rounds up to pages.
pub(crate) fn raw(data: &MapData, bytes: usize, name: &'static str) -> Result<MmapRaw, Error> {
    let mapped = MmapOptions::new()
        .len(bytes)
        .map_raw(data.fd().as_fd().as_raw_fd());
    mapped.map_err(Error::os(format!("cannot map `{name}` into memory")))
}

/// The object's array of this name, to be mapped.
pub(crate) fn array<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapData, Error> {
    match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(Error::Map {
            map: name,
            why: "the object has no such array".to_owned(),
        }),
    }
}
