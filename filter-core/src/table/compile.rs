//! From ranges to lines. What the lines mean is for the lookup to say.
//!
//! A set with a table of more than [`PIECE_SLOTS`] slots is compiled in pieces, each with its part of the table and
//! lines of its own: after a change only the pieces it lies in are compiled again ([`Layout::change`]), and all other
//! lines can serve the old set and the new one at once.
use core::ops::{Range, RangeInclusive};

use super::boundaries::{Boundaries, Keys, Part, long_boundaries, long_list, within};
use super::node::{Node, SetDescriptor, Window};
use super::{CHUNK_LINES, LINE_WORDS, Line};
use crate::set::Ranges;

/// Nodes in a line of a table.
const LINE_NODES: u64 = 2 * LINE_WORDS as u64;
/// Slots of a table that are compiled together. Whole lines of the table, so that a piece's part of it is copied as it
/// is; the global IPv4 table has 256 such pieces of some forty lines each.
pub const PIECE_SLOTS: u64 = 256;
/// Lines of the table that a piece fills.
const PIECE_TABLE_LINES: usize = (PIECE_SLOTS / LINE_NODES) as usize;
/// As many leaves are left to index lines; a slot with more gets a table of its own. Of 1, 4, 8 and 16, 8 was best:
/// the global IPv6 table is a tenth faster so than with index lines alone, the IPv4 one seldom comes so far.
const MAX_TREE: usize = 8;

/// A compiled set that has no place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledSet {
    /// What is in front of the line that the descriptor names.
    long: Vec<Line>,
    entry: Entry,
}

/// What the descriptor leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// One leaf, or none.
    Leaf(Node, Vec<Line>),
    /// A table, in pieces.
    Table(Span, Vec<Piece>),
}

/// Some slots of a table and the lines that only they point to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    nodes: Vec<Node>,
    lines: Vec<Line>,
    pointers: Pointers,
}

/// Where among a piece's lines nodes are, which have to know where the piece lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pointers {
    /// Lines that are nothing but nodes.
    tables: Vec<Range<usize>>,
    /// Lines whose first word is a node.
    indices: Vec<usize>,
}

/// Lines that have found their place in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What a lookup needs to know.
    pub descriptor: SetDescriptor,
    /// What the chunk must hold from the place on.
    pub lines: Vec<Line>,
}

/// What a set's table covers: the same before and after a change of some of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    span: Span,
    /// Ranges of the set it was made for.
    ranges: usize,
}

/// What becomes of a set whose ranges change, if its layout stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is in front of the table now.
    pub long: Vec<Line>,
    /// The pieces that are others now, by their number.
    pub pieces: Vec<(usize, Piece)>,
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

/// Compiles the members of one family.
///
/// # Errors
/// [`TableError::TooLarge`] if they do not fit a chunk.
pub fn compile(ranges: &Ranges) -> Result<CompiledSet, TableError> {
    let boundaries = Boundaries::of(ranges.as_slice(), ALL_KEYS);
    let window = Window::new(64, zeros(&boundaries.short));
    let entry = match Span::of(&boundaries.short) {
        Some(span) if boundaries.short.len() > window.leaf_capacity() => {
            let pieces = span.pieces();
            let piece =
                |slots| Compiler::new(boundaries.part(span.keys(&slots))).piece(span, slots);
            Entry::Table(span, pieces.map(piece).collect())
        }
        Some(_) => {
            let mut compiler = Compiler::new(boundaries.whole());
            let node = compiler.tree(0..boundaries.short.len(), window);
            Entry::Leaf(node, compiler.lines)
        }
        None => Entry::Leaf(Node::constant(boundaries.flip), Vec::new()),
    };
    let long = long_list(&long_boundaries(ranges.as_slice()));
    let set = CompiledSet { long, entry };
    fits(set.line_count(), 0)?;
    Ok(set)
}

/// Every address.
const ALL_KEYS: Keys = (0, u64::MAX);

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
        let pieces = self.pieces().iter().map(Piece::line_count);
        self.head_line_count() + pieces.sum::<usize>()
    }

    /// How many of them lie in front of the pieces' lines.
    #[must_use]
    pub fn head_line_count(&self) -> usize {
        let entry = match &self.entry {
            // The long list is found by the line after it.
            Entry::Leaf(_, leaf) => leaf.len().max(usize::from(!self.long.is_empty())),
            Entry::Table(span, _) => span.lines(),
        };
        self.long.len() + entry
    }

    /// Its pieces: none if it has no table.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        match &self.entry {
            Entry::Leaf(..) => &[],
            Entry::Table(_, pieces) => pieces,
        }
    }

    /// What a change of these ranges is worked out from; `None` if compiling anew costs no more.
    #[must_use]
    pub fn layout(&self, ranges: &Ranges) -> Option<Layout> {
        match &self.entry {
            Entry::Table(span, pieces) if pieces.len() > 1 => Some(Layout {
                span: *span,
                ranges: ranges.as_slice().len(),
            }),
            _ => None,
        }
    }

    /// The whole set in one run of lines that starts at this line of the chunk: long list, table, pieces in order.
    ///
    /// # Errors
    /// [`TableError::TooLarge`] if the chunk ends before the set does.
    pub fn place(&self, base: usize) -> Result<Placed, TableError> {
        fits(self.line_count(), base)?;
        let entry = base + self.long.len();
        let mut lines = self.long.clone();
        let descriptor = match &self.entry {
            Entry::Leaf(node, leaf) => {
                lines.extend(leaf);
                lines.resize(self.head_line_count(), Line::default());
                SetDescriptor::of_node(node.moved(if leaf.is_empty() { 0 } else { entry as u16 }))
            }
            Entry::Table(span, pieces) => {
                let mut at = base + self.head_line_count();
                let mut below = Vec::with_capacity(self.line_count() - self.head_line_count());
                for piece in pieces {
                    let (table, own) = piece.place(at as u16);
                    at += own.len();
                    lines.extend(table);
                    below.extend(own);
                }
                lines.extend(below);
                span.descriptor(entry)
            }
        };
        let descriptor = match self.long.is_empty() {
            true => descriptor,
            false => descriptor.with_long_list(entry),
        };
        Ok(Placed { descriptor, lines })
    }
}

impl Piece {
    /// How many lines it has besides those of its part of the table.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// Its part of the table, and its lines, if the first of those is this line of the chunk.
    #[must_use]
    pub fn place(&self, line: u16) -> (Vec<Line>, Vec<Line>) {
        let mut table = vec![Line::default(); self.nodes.len().div_ceil(LINE_NODES as usize)];
        let nodes: Vec<Node> = self.nodes.iter().map(|node| node.moved(line)).collect();
        write_nodes(&nodes, &mut table);
        let mut lines = self.lines.clone();
        let moved = |half: u64| u64::from(Node(half as u32).moved(line).0);
        for table in &self.pointers.tables {
            for word in lines[table.clone()].as_flattened_mut() {
                *word = moved(*word >> 32) << 32 | moved(*word);
            }
        }
        for &index in &self.pointers.indices {
            lines[index][0] = moved(lines[index][0]);
        }
        (table, lines)
    }
}

impl Layout {
    /// How many lines the table has.
    #[must_use]
    pub fn table_lines(&self) -> usize {
        self.span.lines()
    }

    /// The lines of the table that a piece's part of it fills.
    #[must_use]
    pub fn piece_lines(&self, piece: usize) -> Range<usize> {
        let first = piece * PIECE_TABLE_LINES;
        first..(first + PIECE_TABLE_LINES).min(self.table_lines())
    }

    /// The first and the last address of a piece's slots; of the last piece, of all that follows.
    #[must_use]
    pub fn piece_range(&self, piece: usize) -> crate::set::Range {
        let first = piece as u64 * PIECE_SLOTS;
        let slots = first..=(first + PIECE_SLOTS - 1).min(self.span.last);
        let (start, end) = self.span.keys(&slots);
        (
            u128::from(start) << 64,
            u128::from(end) << 64 | u128::from(u64::MAX),
        )
    }

    /// What a lookup needs to know, if the table starts at this line, with a long list in front of it or without.
    #[must_use]
    pub fn descriptor(&self, line: usize, has_long_list: bool) -> SetDescriptor {
        let descriptor = self.span.descriptor(line);
        match has_long_list {
            true => descriptor.with_long_list(line),
            false => descriptor,
        }
    }

    /// The pieces in which two sets differ, compiled for the second; `None` if the table would no longer be of a size
    /// that suits it, or would not cover it.
    #[must_use]
    pub fn change(&self, before: &Ranges, after: &Ranges) -> Option<Change> {
        let (before, after) = (before.as_slice(), after.as_slice());
        let suits = after.len() >= self.ranges / 2 && after.len() <= self.ranges * 2;
        if !suits || !self.span.covers(after) {
            return None;
        }
        let differs = |keys| within(before, keys) != within(after, keys);
        let pieces = self
            .span
            .pieces()
            .enumerate()
            .map(|(number, slots)| (number, self.span.keys(&slots), slots));
        let changed = pieces.filter(|&(_, keys, _)| differs(keys));
        let compiled = changed.map(|(number, keys, slots)| {
            let boundaries = Boundaries::of(after, keys);
            (
                number,
                Compiler::new(boundaries.whole()).piece(self.span, slots),
            )
        });
        Some(Change {
            pieces: compiled.collect(),
            long: long_list(&long_boundaries(after)),
        })
    }
}

fn write_nodes(nodes: &[Node], lines: &mut [Line]) {
    for (word, pair) in lines.as_flattened_mut().iter_mut().zip(nodes.chunks(2)) {
        let high = pair.get(1).map_or(0, |node| node.0);
        *word = u64::from(pair[0].0) | u64::from(high) << 32;
    }
}

/// What part of the address space a table covers, in slots of 2^`shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    fn descriptor(self, line: usize) -> SetDescriptor {
        SetDescriptor::of_table(line, self.shift, self.base, self.last)
    }

    /// The slots of each piece.
    fn pieces(self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let starts = (0..=self.last).step_by(PIECE_SLOTS as usize);
        starts.map(move |start| start..=(start + PIECE_SLOTS - 1).min(self.last))
    }

    /// The keys that come to these slots from within the span; those of the last slot go on to the end.
    fn keys(self, slots: &RangeInclusive<u64>) -> Keys {
        let end = match *slots.end() {
            end if end == self.last => u64::MAX,
            end => key_before(self.first_key(end + 1)),
        };
        (self.first_key(*slots.start()).min(end.into()) as u64, end)
    }

    /// The lowest key of a slot. The last slot's may be one beyond the address space.
    fn first_key(self, slot: u64) -> u128 {
        u128::from(slot + self.base) << self.shift
    }

    /// Do these ranges flip nowhere but in the slots before the last? The last one answers for both outsides, so it
    /// must be constant: not even its first key may be a boundary, which would make a leaf of it.
    fn covers(self, ranges: &[crate::set::Range]) -> bool {
        let before_last = key_before(self.first_key(self.last));
        let above = Boundaries::of(ranges, (before_last, u64::MAX));
        if self.base == 0 {
            return above.short.is_empty();
        }
        let below = Boundaries::of(ranges, (0, key_before(self.first_key(0))));
        above.short.is_empty() && below.short.is_empty() && above.flip == below.flip
    }
}

fn key_before(key: u128) -> u64 {
    u64::try_from(key - 1).unwrap_or(u64::MAX)
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

impl<'a> Compiler<'a> {
    fn new(Part { flip, short }: Part<'a>) -> Self {
        Self {
            flip,
            boundaries: short,
            lines: Vec::new(),
            pointers: Pointers::default(),
        }
    }

    /// The piece of these slots, whose boundaries are all there are.
    fn piece(mut self, span: Span, slots: RangeInclusive<u64>) -> Piece {
        let nodes = self.nodes((span, slots), 0..self.boundaries.len(), true);
        Piece {
            nodes,
            lines: self.lines,
            pointers: self.pointers,
        }
    }

    /// A table for these boundaries, and all that is below it. Returns its line.
    fn table(&mut self, span: Span, range: Range<usize>) -> usize {
        let lines = self.lines.len()..self.lines.len() + span.lines();
        self.lines.resize(lines.end, Line::default());
        self.pointers.tables.push(lines.clone());
        let nodes = self.nodes((span, 0..=span.last), range, false);
        write_nodes(&nodes, &mut self.lines[lines.clone()]);
        lines.start
    }

    /// The node of each of these slots.
    fn nodes(
        &mut self,
        (span, slots): (Span, RangeInclusive<u64>),
        range: Range<usize>,
        may_nest: bool,
    ) -> Vec<Node> {
        let place = |slot: u64| (slot - slots.start()) as usize;
        let count = place(*slots.end()) + 1;
        let mut nodes = Vec::with_capacity(count);
        let mut start = range.start;
        while start < range.end {
            let run = self.run(span, start..range.end);
            let before = Node::constant(self.is_member_before(start));
            nodes.resize(place(*run.slots.start()), before);
            let node = self.node(span, &run, may_nest);
            nodes.resize(place(*run.slots.end()) + 1, node);
            start = run.boundaries.end;
        }
        nodes.resize(count, Node::constant(self.is_member_before(start)));
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
        // About a slot per range, but none finer than the boundaries are; more than one leaf are more than eight.
        let finest = span.shift.saturating_sub(window.shift);
        let width = (boundaries.len() / 2)
            .ilog2()
            .min(finest)
            .min(Node::MAX_WIDTH);
        let nested = span.within(*slots.start(), width);
        let line = self.table(nested, boundaries.clone());
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
            if !longer.fits_a_leaf() {
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
