//! Medians and turns: what is compared is measured in turns, so that a busy moment of the machine hits all of it.
//! Never prints.

/// A fallible measurement's result; what went wrong is for people.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The middle one; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Every measurement once a round, `rounds` times; the medians, in the order of the measurements. Each is given
/// the number of the round.
///
/// # Errors
/// The first that occurs.
pub fn in_turns<const N: usize>(
    rounds: u32,
    mut measurements: [&mut dyn FnMut(u32) -> Result<f64>; N],
) -> Result<[f64; N]> {
    let mut values: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for round in 0..rounds {
        for (measure, values) in measurements.iter_mut().zip(&mut values) {
            values.push(measure(round)?);
        }
    }
    Ok(values.map(|values| median(&values)))
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns of each comparison.
    pub rounds: u32,
    /// Packets per turn and fast program; slow ones get a fifth of it.
    pub packets: u32,
    /// Everything is smaller.
    pub quick: bool,
}

impl Effort {
    /// Below a minute for everything, or as long as it takes.
    #[must_use]
    pub const fn new(quick: bool) -> Self {
        if quick {
            Self {
                rounds: 3,
                packets: 300_000,
                quick,
            }
        } else {
            Self {
                rounds: 9,
                packets: 1_000_000,
                quick,
            }
        }
    }
}
