//! Shares the room of a kind of records among the peers: who records little keeps all of it, and those who record most lose
//! their oldest. So a flood, or a flapping session, costs the records of the peer that causes it, and no other's. Records of no
//! peer are one more share.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Deserialize;

use super::writer::private;
use super::{Header, Kind, RecordsError, failed, read_lines};

/// Of a record: the peer it is of.
#[derive(Deserialize)]
struct Owned<'a> {
    #[serde(borrow, default)]
    peer: Option<Cow<'a, str>>,
}

type Bytes = BTreeMap<Option<String>, u64>;

/// Makes one file of both, of so many bytes at most, as the former one, and takes the one that was written away.
pub(super) fn merge(directory: &Path, kind: Kind, room: u64) -> Result<(), RecordsError> {
    let mut sizes = Bytes::new();
    read_lines(directory, kind, |line| {
        let Some(owner) = owner(line) else {
            return false;
        };
        *sizes.entry(owner).or_default() += line.len() as u64;
        true
    })?;
    let header = Header::of(kind).line();
    let share = share(
        sizes.values().copied(),
        room.saturating_sub(header.len() as u64),
    );
    let mut surplus = sizes;
    surplus
        .values_mut()
        .for_each(|size| *size = size.saturating_sub(share));
    let (old, merged) = (kind.old_path(directory), kind.merged_path(directory));
    let write = failed("write", &merged);
    let file = private()
        .write(true)
        .truncate(true)
        .open(&merged)
        .map_err(&write)?;
    let mut file = BufWriter::new(file);
    let mut written = file.write_all(header.as_bytes());
    read_lines(directory, kind, |line| {
        let over = owner(line).and_then(|owner| surplus.get_mut(&owner));
        match over {
            Some(0) if written.is_ok() => written = file.write_all(line),
            Some(over) => *over = over.saturating_sub(line.len() as u64),
            None => {}
        }
        true
    })?;
    let synced = written
        .and_then(|()| file.flush())
        .and_then(|()| file.get_ref().sync_all());
    synced.map_err(&write)?;
    fs::rename(&merged, &old).map_err(failed("rename", &merged))?;
    // Before the other goes, also if the power does.
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(&write)?;
    // A crash before this leaves records in both files: readers know them by their place.
    let path = kind.path(directory);
    fs::remove_file(&path).map_err(failed("remove", &path))
}

fn owner(line: &[u8]) -> Option<Option<String>> {
    let owned: Owned<'_> = serde_json::from_slice(line).ok()?;
    Some(owned.peer.map(Cow::into_owned))
}

/// What each may have at most, so that all of them have room: those that have less leave the rest to the others.
fn share(sizes: impl Iterator<Item = u64>, room: u64) -> u64 {
    let mut sizes: Vec<u64> = sizes.collect();
    sizes.sort_unstable();
    let (mut left, mut others) = (room, sizes.len() as u64);
    for size in sizes {
        let fair = left / others;
        if size > fair {
            return fair;
        }
        (left, others) = (left - size, others - 1);
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_little_keeps_it_and_the_others_share_the_rest() {
        let share = |sizes: &[u64], room| share(sizes.iter().copied(), room);
        assert_eq!(share(&[], 10), u64::MAX);
        assert_eq!(share(&[4, 6], 10), u64::MAX);
        assert_eq!(share(&[4, 7], 10), 6);
        assert_eq!(share(&[1, 100, 50], 21), 10);
        assert_eq!(share(&[5, 5, 5], 6), 2);
    }
}
