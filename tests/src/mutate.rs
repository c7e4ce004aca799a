//! Frames made from other frames by small accidents, the same ones in every run. Never knows what they mean.

/// A small random number generator (splitmix64): seeded, so that a failure repeats.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below a bound.
    ///
    /// # Panics
    /// If the bound is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % bound as u64).expect("below a usize")
    }
}

/// A frame and one to three accidents: a bit, a byte, a cut, an inserted tag, a piece of another frame.
///
/// # Panics
/// If there are no frames to start from.
pub fn mutated(frames: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut frame = frames[random.below(frames.len())].clone();
    for _ in 0..=random.below(3) {
        let at = random.below(frame.len() + 1);
        match random.below(6) {
            0 => frame.truncate(at),
            1 => insert_tag(&mut frame, random),
            2 => {
                let other = &frames[random.below(frames.len())];
                frame.truncate(at);
                frame.extend_from_slice(&other[at.min(other.len())..]);
            }
            3 => replace(&mut frame, at, |_| random.draw() as u8),
            4 => replace(&mut frame, at, |byte| {
                byte.wrapping_add(if random.below(2) == 0 { 1 } else { 255 })
            }),
            _ => replace(&mut frame, at, |byte| byte ^ 1 << random.below(8)),
        }
    }
    frame
}

fn replace(frame: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = frame.get_mut(at) {
        *byte = change(*byte);
    }
}

fn insert_tag(frame: &mut Vec<u8>, random: &mut Random) {
    const TAGS: [[u8; 4]; 6] = [
        [0x81, 0, 0, 0],
        [0x81, 0, 0xe0, 0],
        [0x81, 0, 0, 100],
        [0x81, 0, 0, 9],
        [0x88, 0xa8, 0, 7],
        [0x88, 0xa8, 0, 200],
    ];
    if frame.len() >= 12 {
        frame.splice(12..12, TAGS[random.below(TAGS.len())]);
    }
}
