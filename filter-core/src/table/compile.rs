//! From ranges to lines, in one pass over the boundaries. What the lines mean is for the lookup to say.
use core::ops::Range;

use super::node::{Node, SetDescriptor, Window};
use super::{CHUNK_LINES, LINE_WORDS, Line};
use crate::set::Ranges;

/// Nodes in a line of a table.
const LINE_NODES: u64 = 2 * LINE_WORDS as u64;

/// A compiled set: its lines, and the descriptor that finds the way through them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledSet {
    descriptor: SetDescriptor,
    lines: Vec<Line>,
    /// The line of the chunk where the first line is meant to lie.
    base: u16,
    /// The lines that are nothing but nodes.
    table: Range<usize>,
    /// The lines whose first word is a node.
    indices: Vec<usize>,
}

/// Why a set cannot be compiled or placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// It does not fit between its place and the end of the chunk.
    TooLarge {
        /// Lines of 64 bytes the set takes.
        lines: usize,
        /// Lines there are.
        limit: usize,
    },
}

impl core::fmt::Display for TableError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self::TooLarge { lines, limit } = self;
        write!(
            f,
            "the set takes {lines} lines of 64 bytes and {limit} are left: aggregate its prefixes"
        )
    }
}

impl core::error::Error for TableError {}

/// Compiles the members of one family, to be placed at the start of a chunk.
///
/// # Errors
/// [`TableError::TooLarge`] if they do not fit a chunk.
pub fn compile(ranges: &Ranges) -> Result<CompiledSet, TableError> {
    let Boundaries { flip, short, long } = Boundaries::of(ranges);
    let mut compiler = Compiler {
        flip,
        boundaries: &short,
        lines: long_list(&long),
        indices: Vec::new(),
    };
    let start = compiler.lines.len();
    let (descriptor, table) = compiler.compile();
    let Compiler {
        mut lines, indices, ..
    } = compiler;
    if lines.len() == start && start > 0 {
        lines.push(Line::default()); // the long list is found by the line after it
    }
    fits(lines.len(), 0)?;
    let descriptor = if long.is_empty() {
        descriptor
    } else {
        descriptor.with_long_list(start)
    };
    Ok(CompiledSet {
        descriptor,
        lines,
        base: 0,
        table: start..start + table,
        indices,
    })
}

fn fits(lines: usize, base: usize) -> Result<(), TableError> {
    let limit = CHUNK_LINES.saturating_sub(base);
    if lines > limit {
        return Err(TableError::TooLarge { lines, limit });
    }
    Ok(())
}

impl CompiledSet {
    /// How many lines it takes: none for the empty set and for the default route.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// Makes the pointers those of a set whose first line is this line of the chunk.
    ///
    /// # Errors
    /// [`TableError::TooLarge`] if the chunk ends before the set does; then nothing has changed.
    pub fn place(&mut self, base: usize) -> Result<(), TableError> {
        fits(self.lines.len(), base)?;
        if self.lines.is_empty() {
            return Ok(());
        }
        let base = base as u16;
        let distance = u64::from(base.wrapping_sub(self.base));
        let moved = |node: u64| node & !0xffff | node.wrapping_add(distance) & 0xffff;
        for word in self.lines[self.table.clone()].as_flattened_mut() {
            *word = moved(*word >> 32) << 32 | moved(*word & 0xffff_ffff);
        }
        for &index in &self.indices {
            self.lines[index][0] = moved(self.lines[index][0]);
        }
        self.descriptor.0 = moved(self.descriptor.0);
        self.base = base;
        Ok(())
    }

    /// What a lookup needs to know, for the place last given.
    #[must_use]
    pub fn descriptor(&self) -> SetDescriptor {
        self.descriptor
    }

    /// What the chunk must hold from that place on.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// Where membership flips.
struct Boundaries {
    /// Is the lowest address a member?
    flip: bool,
    /// Between /64s: the lowest top halves of the other kind, ascending, without zero. /64s that are members in
    /// part are members nowhere here.
    short: Vec<u64>,
    /// Within the /64s that are members in part: whole addresses, ascending.
    long: Vec<u128>,
}

impl Boundaries {
    fn of(ranges: &Ranges) -> Self {
        let (mut short, mut long) = (Vec::with_capacity(2 * ranges.as_slice().len()), Vec::new());
        for &(first, last) in ranges.as_slice() {
            let (mut from, mut to) = ((first >> 64) as u64, (last >> 64) as u64);
            let (cut_first, cut_last) = (first as u64 != 0, last as u64 != u64::MAX);
            if from == to && (cut_first || cut_last) {
                long.push(first);
                long.extend(last.checked_add(1));
                continue;
            }
            if cut_first {
                from += 1;
                long.extend([first, u128::from(from) << 64]);
            }
            if cut_last {
                long.extend([u128::from(to) << 64, last + 1]);
                to -= 1;
            }
            if from <= to {
                short.push(from);
                short.extend(to.checked_add(1));
            }
        }
        let flip = short.first() == Some(&0);
        if flip {
            short.remove(0);
        }
        Self { flip, short, long }
    }
}

/// The boundaries within /64s, then their number, two words each, up to the end of a line.
fn long_list(boundaries: &[u128]) -> Vec<Line> {
    if boundaries.is_empty() {
        return Vec::new();
    }
    let words = 2 * (boundaries.len() + 1);
    let mut lines = vec![Line::default(); words.div_ceil(LINE_WORDS)];
    let all = lines.as_flattened_mut();
    let start = all.len() - words;
    let pairs = boundaries.iter().map(|&b| [(b >> 64) as u64, b as u64]);
    for (cell, pair) in all[start..]
        .chunks_exact_mut(2)
        .zip(pairs.chain([[boundaries.len() as u64, 0]]))
    {
        cell.copy_from_slice(&pair);
    }
    lines
}

/// What part of the address space a table covers, in slots of 2^`shift`.
#[derive(Clone, Copy)]
struct Span {
    shift: u32,
    /// The number of the first slot.
    base: u64,
    /// How many slots follow it. The last one is beyond all boundaries: it answers for everything outside.
    last: u64,
}

impl Span {
    /// The finest that costs at most a node per two boundaries, which is one per range, or fits one line.
    fn of(boundaries: &[u64]) -> Option<Self> {
        let (&first, &final_) = (boundaries.first()?, boundaries.last()?);
        // One answer must do for both outsides, or there must be only one.
        let is_same_outside = boundaries.len() % 2 == 0;
        let limit = (boundaries.len() as u64 / 2).clamp(LINE_NODES, SetDescriptor::MAX_SLOTS);
        (SetDescriptor::MIN_SHIFT..64)
            .map(|shift| {
                let base = if is_same_outside { first >> shift } else { 0 };
                Self {
                    shift,
                    base,
                    last: (final_ >> shift) + 1 - base,
                }
            })
            .find(|span| span.last < limit)
    }

    fn slot(self, boundary: u64) -> u64 {
        (boundary >> self.shift) - self.base
    }

    /// How many low bits differ among the addresses of these slots.
    fn bits(self, first: u64, last: u64) -> u32 {
        let difference = (first + self.base) ^ (last + self.base);
        self.shift + (64 - difference.leading_zeros())
    }

    fn lines(self) -> usize {
        (self.last + 1).div_ceil(LINE_NODES) as usize
    }
}

/// Boundaries that share a node, and how they are stored.
struct Run {
    end: usize,
    last_slot: u64,
    window: Window,
}

struct Compiler<'a> {
    flip: bool,
    boundaries: &'a [u64],
    lines: Vec<Line>,
    indices: Vec<usize>,
}

impl Compiler<'_> {
    /// The short boundaries, after the lines that are there. Returns how many lines of nodes come first.
    fn compile(&mut self) -> (SetDescriptor, usize) {
        let all = self.boundaries.len();
        let window = Window::new(64, zeros(self.boundaries));
        let Some(span) = Span::of(self.boundaries) else {
            return (SetDescriptor::of_node(Node::constant(self.flip)), 0);
        };
        if all <= window.leaf_capacity() {
            return (SetDescriptor::of_node(self.tree(0..all, window)), 0);
        }
        let start = self.lines.len();
        self.lines.resize(start + span.lines(), Line::default());
        let nodes = self.nodes(span);
        for (word, pair) in self.lines[start..]
            .as_flattened_mut()
            .iter_mut()
            .zip(nodes.chunks(2))
        {
            *word = u64::from(pair[0].0) | u64::from(pair.get(1).map_or(0, |node| node.0)) << 32;
        }
        (
            SetDescriptor::of_table(start, span.shift, span.base, span.last),
            span.lines(),
        )
    }

    /// The node of every slot; leaves and index lines are appended on the way.
    fn nodes(&mut self, span: Span) -> Vec<Node> {
        let mut nodes = Vec::with_capacity(span.last as usize + 1);
        let mut start = 0;
        while let Some(&boundary) = self.boundaries.get(start) {
            nodes.resize(
                span.slot(boundary) as usize,
                Node::constant(self.is_member_before(start)),
            );
            let run = self.run(start, span);
            let node = self.tree(start..run.end, run.window);
            nodes.resize(run.last_slot as usize + 1, node);
            start = run.end;
        }
        nodes.resize(
            span.last as usize + 1,
            Node::constant(self.is_member_before(start)),
        );
        nodes
    }

    /// Is the address right before this boundary a member?
    fn is_member_before(&self, boundary: usize) -> bool {
        self.flip ^ (boundary % 2 == 1)
    }

    /// The boundaries of one slot, and of the next ones as long as all fit one leaf.
    fn run(&self, start: usize, span: Span) -> Run {
        let first_slot = span.slot(self.boundaries[start]);
        let up_to = |end: usize| {
            let last_slot = span.slot(self.boundaries[end]);
            let rest = self.boundaries[end..].iter();
            let end = end + rest.take_while(|&&b| span.slot(b) == last_slot).count();
            let window = Window::new(
                span.bits(first_slot, last_slot),
                zeros(&self.boundaries[start..end]),
            );
            Run {
                end,
                last_slot,
                window,
            }
        };
        let mut run = up_to(start);
        while run.end < self.boundaries.len() {
            let longer = up_to(run.end);
            if longer.end - start > longer.window.leaf_capacity() {
                break;
            }
            run = longer;
        }
        run
    }

    /// Leaves for these boundaries and, if they are several, index lines above them.
    fn tree(&mut self, range: Range<usize>, window: Window) -> Node {
        let flip = self.is_member_before(range.start);
        let mut node = Node::leaf(self.lines.len(), window, flip);
        // All leaves but the last are full, and a full leaf has an even number: one flip serves all.
        let leaves = self.boundaries[range].chunks(window.leaf_capacity());
        let mut firsts = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let mut line = Line::default();
            window.pack(leaf, &mut line);
            self.lines.push(line);
            firsts.push(leaf[0]);
        }
        while firsts.len() > 1 {
            let level = Node::leaf(self.lines.len(), window, flip).index();
            let fanout = window.index_capacity() + 1;
            for (i, children) in firsts.chunks(fanout).enumerate() {
                let mut line = Line::default();
                line[0] = u64::from(node.0) + (i * fanout) as u64;
                window.pack(&children[1..], &mut line[1..]);
                self.indices.push(self.lines.len());
                self.lines.push(line);
            }
            firsts = firsts.chunks(fanout).map(|children| children[0]).collect();
            node = level;
        }
        node
    }
}

/// Trailing zero bits that all of these have.
fn zeros(boundaries: &[u64]) -> u32 {
    boundaries.iter().fold(0, |all, b| all | b).trailing_zeros()
}
