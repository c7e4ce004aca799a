//! From ranges to lines, in one pass over the boundaries. What the lines mean is for the lookup to say.
use core::ops::{Range, RangeInclusive};

use super::node::{Node, SetDescriptor, Window};
use super::{CHUNK_LINES, LINE_WORDS, Line};
use crate::set::Ranges;

/// Nodes in a line of a table.
const LINE_NODES: u64 = 2 * LINE_WORDS as u64;
/// As many leaves are left to index lines; a slot with more gets a table of its own. Of 1, 4, 8 and 16, 8 was best:
/// the global IPv6 table is a tenth faster so than with index lines alone, the IPv4 one seldom comes so far.
const MAX_TREE: usize = 8;

/// A compiled set: its lines, and the descriptor that finds the way through them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledSet {
    descriptor: SetDescriptor,
    lines: Vec<Line>,
    /// The line of the chunk where the first line is meant to lie.
    base: u16,
    pointers: Pointers,
}

/// Where the nodes are, which have to know where the set lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pointers {
    /// Lines that are nothing but nodes.
    tables: Vec<Range<usize>>,
    /// Lines whose first word is a node.
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
        pointers: Pointers::default(),
    };
    let start = compiler.lines.len();
    let mut descriptor = compiler.compile();
    if start > 0 {
        descriptor = descriptor.with_long_list(start);
        if compiler.lines.len() == start {
            compiler.lines.push(Line::default()); // the list is found by the line after it
        }
    }
    let Compiler {
        lines, pointers, ..
    } = compiler;
    fits(lines.len(), 0)?;
    Ok(CompiledSet {
        descriptor,
        lines,
        base: 0,
        pointers,
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
        for table in &self.pointers.tables {
            for word in self.lines[table.clone()].as_flattened_mut() {
                *word = moved(*word >> 32) << 32 | moved(*word & 0xffff_ffff);
            }
        }
        for &index in &self.pointers.indices {
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
        let is_same_outside = boundaries.len().is_multiple_of(2);
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

    /// One of its slots as a span of 2^`width` slots.
    fn within(self, slot: u64, width: u32) -> Self {
        Self {
            shift: self.shift - width,
            base: (slot + self.base) << width,
            last: (1 << width) - 1,
        }
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

/// Slots that share a node, their boundaries, and how those are stored.
struct Run {
    slots: RangeInclusive<u64>,
    boundaries: Range<usize>,
    window: Window,
}

impl Run {
    fn fits_a_leaf(&self) -> bool {
        self.boundaries.len() <= self.window.leaf_capacity()
    }
}

struct Compiler<'a> {
    flip: bool,
    boundaries: &'a [u64],
    lines: Vec<Line>,
    pointers: Pointers,
}

impl Compiler<'_> {
    /// The short boundaries, after the lines that are there.
    fn compile(&mut self) -> SetDescriptor {
        let all = 0..self.boundaries.len();
        let window = Window::new(64, zeros(self.boundaries));
        let Some(span) = Span::of(self.boundaries) else {
            return SetDescriptor::of_node(Node::constant(self.flip));
        };
        if all.len() <= window.leaf_capacity() {
            return SetDescriptor::of_node(self.tree(all, window));
        }
        let line = self.table(span, all, true);
        SetDescriptor::of_table(line, span.shift, span.base, span.last)
    }

    /// A table for these boundaries, and all that is below it. Returns its line.
    fn table(&mut self, span: Span, range: Range<usize>, may_nest: bool) -> usize {
        let lines = self.lines.len()..self.lines.len() + span.lines();
        self.lines.resize(lines.end, Line::default());
        self.pointers.tables.push(lines.clone());
        let nodes = self.nodes(span, range, may_nest);
        let words = self.lines[lines.clone()].as_flattened_mut();
        for (word, pair) in words.iter_mut().zip(nodes.chunks(2)) {
            let high = pair.get(1).map_or(0, |node| node.0);
            *word = u64::from(pair[0].0) | u64::from(high) << 32;
        }
        lines.start
    }

    /// The node of every slot.
    fn nodes(&mut self, span: Span, range: Range<usize>, may_nest: bool) -> Vec<Node> {
        let mut nodes = Vec::with_capacity(span.last as usize + 1);
        let mut start = range.start;
        while start < range.end {
            let run = self.run(span, start..range.end);
            nodes.resize(
                *run.slots.start() as usize,
                Node::constant(self.is_member_before(start)),
            );
            let node = self.node(span, &run, may_nest);
            nodes.resize(*run.slots.end() as usize + 1, node);
            start = run.boundaries.end;
        }
        nodes.resize(
            span.last as usize + 1,
            Node::constant(self.is_member_before(start)),
        );
        nodes
    }

    /// What the slots of a run share: a leaf or a small tree, or a table of its own for a slot that is crowded. There
    /// is only one level of those: what is still crowded then has all its boundaries in one corner, where a tree
    /// stays logarithmic and tables would go on forever.
    fn node(&mut self, span: Span, run: &Run, may_nest: bool) -> Node {
        let Run {
            slots,
            boundaries,
            window,
        } = run;
        let leaves = boundaries.len().div_ceil(window.leaf_capacity());
        if leaves <= MAX_TREE || !may_nest {
            return self.tree(boundaries.clone(), *window);
        }
        // About a slot per boundary; never finer than the boundaries, of which there are more than sixteen.
        let finest = span.shift.saturating_sub(window.shift);
        let width = boundaries.len().ilog2().min(finest).min(Node::MAX_WIDTH);
        let nested = span.within(*slots.start(), width);
        let line = self.table(nested, boundaries.clone(), false);
        Node::table(line, nested.shift, width)
    }

    /// Is the address right before this boundary a member?
    fn is_member_before(&self, boundary: usize) -> bool {
        self.flip ^ (boundary % 2 == 1)
    }

    /// The boundaries of the first slot that has some, and of the next ones as long as all fit one leaf.
    fn run(&self, span: Span, range: Range<usize>) -> Run {
        let first = span.slot(self.boundaries[range.start]);
        let up_to = |end: usize| {
            let last = span.slot(self.boundaries[end]);
            let rest = self.boundaries[end..range.end].iter();
            let end = end + rest.take_while(|&&b| span.slot(b) == last).count();
            let boundaries = range.start..end;
            let window = Window::new(
                span.bits(first, last),
                zeros(&self.boundaries[boundaries.clone()]),
            );
            Run {
                slots: first..=last,
                boundaries,
                window,
            }
        };
        let mut run = up_to(range.start);
        while run.boundaries.end < range.end {
            let longer = up_to(run.boundaries.end);
            if !longer.fits_a_leaf() || longer.window.lanes < 2.min(run.window.lanes) {
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
                self.pointers.indices.push(self.lines.len());
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
