//! Prefixes and addresses of realistic shape, the same on every run: for tests and benches, never for the product.
//!
//! The shapes follow the global table of October 2025 (901,899 IPv4 and 160,147 IPv6 prefixes): about 60 % /24,
//! 10 % each /22 and /23, and 47 % /48, 15 % /32, 10 % each /40 and /44; allocations side by side with gaps, most of
//! them announced whole as well as in parts, so that a million prefixes merge into some hundred thousand ranges.
use crate::address::{Address, Family};
use crate::prefix::Prefix;

/// A small generator of random numbers (splitmix64): fast, and equal everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(limit)) >> 64) as u64
    }

    /// 128 random bits.
    pub fn wide(&mut self) -> u128 {
        u128::from(self.word()) << 64 | u128::from(self.word())
    }

    /// One of these, `None` if there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// An address of the prefix.
    pub fn within(&mut self, prefix: Prefix) -> Address {
        let (first, last) = prefix.range();
        Address::from_bits(prefix.family(), first | self.wide() & (first ^ last))
    }

    /// A length, by its share in percent.
    fn length(&mut self, shares: &[(u8, u64)]) -> u8 {
        let mut left = self.below(100);
        for &(len, share) in shares {
            if left < share {
                return len;
            }
            left -= share;
        }
        shares.last().map_or(0, |&(len, _)| len)
    }
}

/// How a family's space is handed out and announced.
struct Plan {
    family: Family,
    /// First 32 bits of the regions that allocations lie in.
    regions: &'static [u32],
    /// How many leading bits a region's addresses share.
    region_len: u8,
    /// Allocation lengths, with their shares in percent.
    allocations: &'static [(u8, u64)],
    /// Announced lengths, with their shares in percent.
    announced: &'static [(u8, u64)],
    /// Announced prefixes per allocation.
    per_block: usize,
}

const IPV4: Plan = Plan {
    family: Family::Ipv4,
    regions: &[
        0x10 << 24,
        0x20 << 24,
        0x40 << 24,
        0x50 << 24,
        0x60 << 24,
        0x80 << 24,
        0x90 << 24,
        0xa0 << 24,
        0xb0 << 24,
        0xc0 << 24,
        0xd0 << 24,
    ],
    region_len: 4,
    allocations: &[
        (14, 2),
        (15, 3),
        (16, 15),
        (17, 6),
        (18, 8),
        (19, 12),
        (20, 14),
        (21, 12),
        (22, 28),
    ],
    announced: &[
        (24, 62),
        (23, 10),
        (22, 11),
        (21, 5),
        (20, 4),
        (19, 3),
        (18, 2),
        (17, 1),
        (16, 2),
    ],
    per_block: 8,
};

const IPV6: Plan = Plan {
    family: Family::Ipv6,
    regions: &[
        0x2000 << 16,
        0x2400 << 16,
        0x2600 << 16,
        0x2800 << 16,
        0x2a00 << 16,
        0x2c00 << 16,
    ],
    region_len: 12,
    allocations: &[(24, 1), (28, 4), (29, 35), (30, 5), (32, 55)],
    announced: &[
        (48, 50),
        (44, 10),
        (40, 11),
        (36, 5),
        (46, 5),
        (47, 4),
        (32, 10),
        (33, 2),
        (29, 3),
    ],
    per_block: 4,
};

/// A table of this many prefixes, about as the global one of that family; ascending, without duplicates.
/// It falls short if that is more than the plan has room for.
#[must_use]
pub fn full_table(family: Family, count: usize, seed: u64) -> Vec<Prefix> {
    let plan = match family {
        Family::Ipv4 => &IPV4,
        Family::Ipv6 => &IPV6,
    };
    let mut random = Random(seed);
    let blocks = allocate(plan, count / plan.per_block + 1, &mut random);
    let mut prefixes = blocks.clone();
    prefixes.retain(|_| random.below(100) < 55);
    for _ in 0..MAX_ROUNDS {
        let missing = count.saturating_sub(prefixes.len());
        if missing == 0 {
            break;
        }
        prefixes.extend((0..2 * missing + 100).filter_map(|_| piece(plan, &blocks, &mut random)));
        prefixes.sort_unstable();
        prefixes.dedup();
    }
    while prefixes.len() > count {
        prefixes.swap_remove(random.below(prefixes.len() as u64) as usize);
    }
    prefixes.sort_unstable();
    prefixes
}

/// Pieces are drawn twice as often as they are missing; what is drawn again counts for nothing.
const MAX_ROUNDS: usize = 20;

/// Blocks side by side from the start of each region, one in four left dark.
fn allocate(plan: &Plan, count: usize, random: &mut Random) -> Vec<Prefix> {
    let mut cursors: Vec<u128> = plan
        .regions
        .iter()
        .map(|&first| u128::from(first) << 96)
        .collect();
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..2 * count {
        let index = random.below(plan.regions.len() as u64) as usize;
        let len = random.length(plan.allocations);
        let size = 1u128 << (128 - len);
        let start = cursors[index].div_ceil(size) * size;
        let last = u128::from(plan.regions[index]) << 96 | u128::MAX >> plan.region_len;
        if start > last {
            continue; // this region is full
        }
        cursors[index] = start + size;
        if random.below(4) > 0 {
            blocks.extend(Prefix::new(Address::from_bits(plan.family, start), len));
        }
    }
    blocks.truncate(count);
    blocks
}

/// A piece of a block. A few blocks are announced in many pieces, most in few.
fn piece(plan: &Plan, blocks: &[Prefix], random: &mut Random) -> Option<Prefix> {
    let reach = random.below(blocks.len() as u64) + 1;
    let block = *blocks.get(random.below(reach) as usize)?;
    let len = random.length(plan.announced).max(block.len());
    Prefix::new(random.within(block), len).ok()
}

/// The sets of `peers` peers on one exchange, heavy-tailed from `largest` prefixes down to one: runs of
/// neighbouring prefixes from a full table, as the customers of a network are.
#[must_use]
pub fn exchange(family: Family, peers: usize, largest: usize, seed: u64) -> Vec<Vec<Prefix>> {
    let table = full_table(family, 20 * largest.max(1000), seed);
    let mut random = Random(!seed);
    (1..=peers)
        .map(|rank| {
            let size = (largest as f64 / (rank as f64).powf(0.8)).ceil() as usize;
            let mut set: Vec<Prefix> = Vec::with_capacity(size);
            while set.len() < size {
                let run = random.below(32.min((size - set.len()) as u64)) as usize + 1;
                let start = random.below((table.len() - run) as u64) as usize;
                set.extend(&table[start..start + run]);
            }
            set.sort_unstable();
            set.dedup();
            set
        })
        .collect()
}

/// Prefixes of any length anywhere: no network announces so.
#[must_use]
pub fn uniform(
    family: Family,
    count: usize,
    lengths: core::ops::RangeInclusive<u8>,
    seed: u64,
) -> Vec<Prefix> {
    let mut random = Random(seed);
    let choices = u64::from(lengths.end() - lengths.start()) + 1;
    (0..count)
        .filter_map(|_| {
            let len = lengths.start() + random.below(choices) as u8;
            Prefix::new(Address::from_bits(family, random.wide()), len).ok()
        })
        .collect()
}

/// `count` addresses that are members of random prefixes of the list.
#[must_use]
pub fn hits(prefixes: &[Prefix], count: usize, seed: u64) -> Vec<Address> {
    let mut random = Random(seed);
    (0..count)
        .filter_map(|_| {
            random
                .pick(prefixes)
                .copied()
                .map(|prefix| random.within(prefix))
        })
        .collect()
}

/// `count` addresses from the whole space of a family.
#[must_use]
pub fn anywhere(family: Family, count: usize, seed: u64) -> Vec<Address> {
    let mut random = Random(seed);
    (0..count)
        .map(|_| Address::from_bits(family, random.wide()))
        .collect()
}
