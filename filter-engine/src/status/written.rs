//! Fields whose types have no `Serialize` of their own.
use super::{Asn, Counters, DefaultPointing, Families, Memory};
use filter_core::Family;
use filter_loader::Fates;
use serde::{Serialize, Serializer};

#[derive(Serialize)]
struct Counter {
    packets: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Fate {
    passed: Counter,
    dropped: Counter,
}

impl From<Fates> for Fate {
    fn from(Fates { passed, dropped }: Fates) -> Self {
        let counter = |counter: filter_loader::Counter| Counter {
            packets: counter.packets,
            bytes: counter.bytes,
        };
        Self {
            passed: counter(passed),
            dropped: counter(dropped),
        }
    }
}

#[derive(Serialize)]
struct Tables {
    bytes_used: u64,
    bytes_capacity: u64,
}

#[derive(Serialize)]
struct Pointing {
    bytes: u64,
    blocks: usize,
    seconds: u64,
}

/// Reasons that occurred.
pub(super) fn counters<S: Serializer>(
    counters: &Option<Counters>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match counters {
        Some(counters) => {
            let each = counters.nonzero();
            serializer.collect_map(each.map(|(reason, fates)| (reason.name(), Fate::from(fates))))
        }
        None => serializer.serialize_none(),
    }
}

pub(super) fn memory<S: Serializer>(memory: &Memory, serializer: S) -> Result<S::Ok, S::Error> {
    let tables = Tables {
        bytes_used: memory.used,
        bytes_capacity: memory.capacity,
    };
    tables.serialize(serializer)
}

/// As a sentence.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn bypass<S: Serializer>(is: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    is.then_some("another MAC passes").serialize(serializer)
}

pub(super) fn pointing<S: Serializer>(
    pointing: &Option<DefaultPointing>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let pointing = pointing.map(|pointing| Pointing {
        bytes: pointing.bytes,
        blocks: pointing.blocks,
        seconds: pointing.duration.as_secs(),
    });
    pointing.serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn asn<S: Serializer>(asn: &Asn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(asn.get())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn families<S: Serializer>(
    families: &Families,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let each = Family::ALL
        .into_iter()
        .filter(|&family| families.contains(family));
    serializer.collect_seq(each.map(Family::name))
}
