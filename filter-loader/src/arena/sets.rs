//! The sets in the arena. Equal sets are stored once, whoever uses them: at an exchange we advertise the same to
//! hundreds of peers. A set that follows another one shares the lines of every piece in which they are alike.
//!
//! Lines that no set uses any more go to limbo, and from there, after a grace period, back to what is free. Never
//! knows which slot uses a set.
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use filter_core::layout::record;
use filter_core::set::Ranges;
use filter_core::table::{self, CHUNK_LINES, Layout, Line};

use super::epochs::Epochs;
use super::extent::Extent;
use super::free::FreeLines;
use super::manifest;
use super::memory::Mapped;
#[cfg(feature = "test-hooks")]
use super::poison;
use crate::error::Error;

/// Lines of one set at most: what a record's 16 bits can count.
const MAX_SET_LINES: usize = u16::MAX as usize;
/// A change of more than this part of a set's pieces compiles it anew, in one run of lines.
const PATCH_PART: usize = 2;
/// Sets of different slots whose numbers of ranges differ by more are not compared.
const LIKE_RANGES: usize = 16;
/// Ranges that distinguish sets before they are compared.
const SAMPLES: usize = 64;

/// One set where it lies.
#[derive(Debug)]
pub(super) struct Stored {
    content: Content,
    descriptor: u64,
    /// Manifest, long list, table; all there is of a set without pieces.
    pub(super) head: Extent,
    pub(super) manifest_lines: u16,
    /// The line of the table in the chunk.
    pub(super) table: usize,
    pub(super) layout: Option<Layout>,
    /// By their place in the table; shared with the sets before and after.
    pub(super) pieces: Vec<Arc<Extent>>,
}

impl Stored {
    /// What a peer's record says of it.
    pub(super) const fn entry(&self) -> (u64, record::Place) {
        let place = record::Place {
            chunk: self.head.chunk,
            line: self.head.line,
            lines: self.head.lines as u16,
            manifest_lines: self.manifest_lines,
        };
        (self.descriptor, place)
    }

    /// What it takes up, lines that it shares with other sets too.
    pub(super) fn line_count(&self) -> usize {
        let pieces = self.pieces.iter().map(|piece| piece.lines as usize);
        self.head.lines as usize + pieces.sum::<usize>()
    }

    /// Where it differs from the set it follows, or has a piece of its own.
    pub(super) fn unlike(&self, before: &Self) -> Ranges {
        let differs = before.content.ranges.difference(&self.content.ranges);
        let Some(layout) = self.layout else {
            return differs;
        };
        let pieces = self.pieces.iter().zip(&before.pieces).enumerate();
        let replaced = pieces.filter(|(_, (now, then))| !Arc::ptr_eq(now, then));
        differs.union(&Ranges::ascending(
            replaced.map(|(number, _)| layout.piece_range(number)),
        ))
    }
}

/// What names a set: its members, of whichever family. Its key is random, so that no router can choose prefixes whose digests collide.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    digest: u64,
    ranges: Ranges,
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

/// How a set came to be where it lies.
#[derive(Clone, Debug)]
pub(super) enum Made {
    /// It was there, for this slot or another.
    Before,
    /// It follows this one, which was there, and shares the lines of every piece in which the two are alike.
    Following(Arc<Stored>),
    /// Compiled as a whole.
    Anew,
}

/// See the file's head.
pub(super) struct Sets {
    pub(super) memory: Mapped,
    pub(super) free: FreeLines,
    stored: HashMap<Content, Arc<Stored>>,
    keys: RandomState,
    epochs: Epochs,
    /// Oldest first, each with the epoch in which it was given up.
    limbo: VecDeque<(u64, Extent)>,
    limbo_lines: usize,
}

impl Sets {
    pub(super) fn new(memory: Mapped) -> Result<Self, Error> {
        Ok(Self {
            free: FreeLines::new(memory.chunks()),
            memory,
            stored: HashMap::new(),
            keys: RandomState::new(),
            epochs: Epochs::new()?,
            limbo: VecDeque::new(),
            limbo_lines: 0,
        })
    }

    /// The set of these members: one that is there, one that follows `before` where it changes, or a new one.
    pub(super) fn store(
        &mut self,
        ranges: &Ranges,
        before: Option<&Arc<Stored>>,
    ) -> Result<(Arc<Stored>, Made), Error> {
        if let Some(same) = before.filter(|before| before.content.ranges == *ranges) {
            return Ok((Arc::clone(same), Made::Before));
        }
        let content = Content {
            digest: self.digest(ranges),
            ranges: ranges.clone(),
        };
        if let Some(same) = self.stored.get(&content) {
            return Ok((Arc::clone(same), Made::Before));
        }
        let mut like = before.cloned();
        let mut changed = like.as_ref().and_then(|like| self.change(like, &content));
        if changed.is_none() {
            like = self.like(ranges);
            changed = like.as_ref().and_then(|like| self.change(like, &content));
        }
        let (stored, made) = match (changed, like) {
            (Some(stored), Some(like)) => (stored, Made::Following(like)),
            _ => (self.compile(&content)?, Made::Anew),
        };
        let stored = Arc::new(stored);
        self.stored.insert(content, Arc::clone(&stored));
        Ok((stored, made))
    }

    /// A set in pieces that may be much the same: what we advertise to one customer and to the next differs in their
    /// session addresses. The one nearest in size, if it is within [`LIKE_RANGES`].
    fn like(&self, ranges: &Ranges) -> Option<Arc<Stored>> {
        let count = ranges.as_slice().len();
        let distance = |set: &&Arc<Stored>| set.content.ranges.as_slice().len().abs_diff(count);
        let sets = self.stored.values().filter(|set| set.layout.is_some());
        let near = sets.min_by_key(distance);
        near.filter(|set| distance(set) <= LIKE_RANGES)
            .map(Arc::clone)
    }

    /// One user less; with the last one its lines go, except those that another set shares.
    pub(super) fn release(&mut self, set: Arc<Stored>) {
        if Arc::strong_count(&set) > 2 {
            return; // another slot uses it, besides the table of sets and the caller
        }
        self.stored.remove(&set.content);
        let Some(set) = Arc::into_inner(set) else {
            return;
        };
        self.retire(set.head);
        for piece in set.pieces {
            if let Some(extent) = Arc::into_inner(piece) {
                self.retire(extent);
            }
        }
    }

    /// Takes lines that no published word leads to any more; packets in flight may still read them.
    pub(super) fn retire(&mut self, extent: Extent) {
        if extent.lines > 0 {
            self.limbo_lines += extent.lines as usize;
            self.limbo.push_back((self.epochs.now(), extent));
        }
    }

    /// Has packets in flight waited for, if there is anything to be had back by it.
    pub(super) fn settle(&mut self) {
        self.collect();
        if !self.limbo.is_empty() {
            self.epochs.end();
        }
    }

    /// Free lines anywhere. Waits for packets in flight only if there is no other way.
    pub(super) fn allocate(&mut self, lines: usize) -> Result<Extent, Error> {
        if lines == 0 {
            return Ok(Extent::default());
        }
        self.collect();
        if let Some(extent) = self.free.allocate(lines) {
            return Ok(extent);
        }
        self.reclaim()?;
        self.free.allocate(lines).ok_or_else(|| {
            too_large(format!(
                "{lines} lines of 64 bytes are needed in one piece, {} of {} are free, the largest piece has {}: raise `table_memory_mib`",
                self.free.lines(),
                self.memory.chunks() * CHUNK_LINES,
                self.free.largest()
            ))
        })
    }

    /// Frees what is in limbo, once packets in flight have ended.
    pub(super) fn reclaim(&mut self) -> Result<(), Error> {
        self.epochs.wait()?;
        self.collect();
        Ok(())
    }

    /// Do the parts of a set that no lookup reaches lie as they were written? The list of its pieces, and, where it
    /// shares pieces with the set before, the nodes that lead to those.
    pub(super) fn is_as_written(&self, set: &Stored, before: Option<&Stored>) -> bool {
        let Some(layout) = set.layout else {
            return true;
        };
        let first = usize::from(set.head.line);
        let manifest = first..first + usize::from(set.manifest_lines);
        if self.memory.read(set.head.chunk, manifest) != manifest_of(&set.pieces) {
            return false;
        }
        let Some(before) = before else {
            return true;
        };
        let root = |set: &Stored| {
            let lines = set.table..set.table + layout.table_lines();
            self.memory.read(set.head.chunk, lines)
        };
        let (now, then) = (root(set), root(before));
        let pieces = set.pieces.iter().zip(&before.pieces).enumerate();
        let mut shared = pieces.filter(|(_, (now, then))| Arc::ptr_eq(now, then));
        shared.all(|(number, _)| {
            let lines = layout.piece_lines(number);
            now[lines.clone()] == then[lines]
        })
    }

    /// Lines in limbo.
    pub(super) const fn retiring(&self) -> usize {
        self.limbo_lines
    }

    /// Fills a set's lines: what using them again too early would do.
    #[cfg(feature = "test-hooks")]
    pub(super) fn poison(&self, set: &Stored) {
        self.poison_extent(set.head);
        set.pieces
            .iter()
            .for_each(|piece| self.poison_extent(**piece));
    }

    /// Frees what no packet reads any more.
    fn collect(&mut self) {
        let over = self.epochs.over();
        while let Some(&(_, extent)) = self.limbo.front().filter(|(epoch, _)| *epoch <= over) {
            self.limbo.pop_front();
            self.limbo_lines -= extent.lines as usize;
            #[cfg(feature = "test-hooks")]
            self.poison_extent(extent);
            self.free.give(extent);
        }
    }

    #[cfg(feature = "test-hooks")]
    fn poison_extent(&self, extent: Extent) {
        let garbage = vec![[poison::POISON; table::LINE_WORDS]; extent.lines as usize];
        self.memory.write(extent, &garbage);
    }

    /// Some of the ranges stand for all: what looks the same is compared.
    fn digest(&self, ranges: &Ranges) -> u64 {
        let ranges = ranges.as_slice();
        let samples = ranges.iter().step_by(ranges.len() / SAMPLES + 1);
        let mut hasher = self.keys.build_hasher();
        hasher.write_usize(ranges.len());
        samples.for_each(|range| range.hash(&mut hasher));
        hasher.finish()
    }

    fn compile(&mut self, content: &Content) -> Result<Stored, Error> {
        let set = table::compile(&content.ranges).map_err(|error| too_large(error.to_string()))?;
        let layout = set.layout(&content.ranges);
        let manifest_lines = layout.map_or(0, |_| manifest::line_count(set.pieces().len()));
        let lines = manifest_lines + set.line_count();
        if lines > MAX_SET_LINES {
            return Err(too_large(format!(
                "{lines} lines of 64 bytes, at most {MAX_SET_LINES} for one set: aggregate its prefixes"
            )));
        }
        let extent = self.allocate(lines)?;
        let first = usize::from(extent.line) + manifest_lines;
        let placed = set
            .place(first)
            .inspect_err(|_| self.free.give(extent))
            .map_err(|error| too_large(error.to_string()))?;
        let (head, pieces) = match layout {
            None => (extent, Vec::new()),
            Some(_) => {
                let lengths = set.pieces().iter().map(table::Piece::line_count);
                self.cut(extent, manifest_lines + set.head_line_count(), lengths)
            }
        };
        if layout.is_some() {
            self.memory.write(head, &manifest_of(&pieces));
        }
        self.memory
            .write(extent.from(manifest_lines), &placed.lines);
        Ok(Stored {
            content: content.clone(),
            descriptor: placed.descriptor.0,
            head,
            manifest_lines: manifest_lines as u16,
            table: first + set.head_line_count() - layout.map_or(0, |layout| layout.table_lines()),
            layout,
            pieces,
        })
    }

    /// Divides a run into the head's lines and each piece's; what the run was rounded up by is free again.
    fn cut(
        &mut self,
        extent: Extent,
        head: usize,
        lengths: impl Iterator<Item = usize>,
    ) -> (Extent, Vec<Arc<Extent>>) {
        let mut rest = extent.from(head);
        let pieces = lengths
            .map(|lines| {
                let piece = rest.first(lines);
                rest = rest.from(lines);
                Arc::new(piece)
            })
            .collect();
        self.free.give(rest);
        (extent.first(head), pieces)
    }

    /// The set as it follows `before`, in the same chunk; `None` if compiling anew is better, or the chunk is full.
    fn change(&mut self, before: &Stored, content: &Content) -> Option<Stored> {
        let layout = before.layout?;
        let change = layout.change(&before.content.ranges, &content.ranges)?;
        if change.pieces.len() > before.pieces.len() / PATCH_PART {
            return None;
        }
        self.collect();
        let chunk = before.head.chunk;
        let head_lines =
            usize::from(before.manifest_lines) + change.long.len() + layout.table_lines();
        let sizes = change.pieces.iter().map(|(_, piece)| piece.line_count());
        let extents = self.allocate_all(chunk, sizes.chain([head_lines]))?;
        let mut pieces = before.pieces.clone();
        let mut table = self
            .memory
            .read(chunk, before.table..before.table + layout.table_lines());
        for ((number, piece), &extent) in change.pieces.iter().zip(&extents) {
            let (nodes, lines) = piece.place(extent.line);
            table[layout.piece_lines(*number)].copy_from_slice(&nodes);
            self.memory.write(extent, &lines);
            pieces[*number] = Arc::new(extent);
        }
        let head = *extents.last()?;
        let manifest = manifest_of(&pieces);
        let table_line = usize::from(head.line) + manifest.len() + change.long.len();
        self.memory
            .write(head, &[manifest, change.long.clone(), table].concat());
        Some(Stored {
            content: content.clone(),
            descriptor: layout.descriptor(table_line, !change.long.is_empty()).0,
            head,
            manifest_lines: before.manifest_lines,
            table: table_line,
            layout: Some(layout),
            pieces,
        })
    }

    /// Runs of these lengths in one chunk: all, or none.
    fn allocate_all(
        &mut self,
        chunk: u16,
        lengths: impl Iterator<Item = usize>,
    ) -> Option<Vec<Extent>> {
        let mut extents = Vec::new();
        for lines in lengths {
            let Some(extent) = self.free.allocate_in(chunk, lines) else {
                extents
                    .into_iter()
                    .for_each(|extent| self.free.give(extent));
                return None;
            };
            extents.push(extent);
        }
        Some(extents)
    }
}

fn manifest_of(pieces: &[Arc<Extent>]) -> Vec<Line> {
    let extents: Vec<(u16, u16)> = pieces
        .iter()
        .map(|piece| (piece.line, piece.lines as u16))
        .collect();
    manifest::lines(&extents)
}

pub(super) fn too_large(why: String) -> Error {
    Error::TableTooLarge {
        of: String::new(),
        why,
    }
}
