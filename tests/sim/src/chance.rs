//! The random decisions of a run. They come from its seed. Faults have numbers, so a plan can mute one of them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// The random generator of a run, and the faults that it has injected.
#[derive(Debug)]
pub(crate) struct Chance {
    dice: Mutex<Dice>,
    muted: BTreeSet<u64>,
}

#[derive(Debug)]
struct Dice {
    generator: SmallRng,
    struck: Vec<String>,
    calm: bool,
}

impl Chance {
    pub(crate) fn new(seed: u64, muted: BTreeSet<u64>) -> Self {
        let generator = SmallRng::seed_from_u64(seed ^ 0x5eed);
        Self { dice: Mutex::new(Dice { generator, struck: Vec::new(), calm: false }), muted }
    }

    fn lock(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a random number in the range.
    pub(crate) fn between(&self, range: RangeInclusive<u64>) -> u64 {
        self.lock().generator.random_range(range)
    }

    /// Decides whether to inject a fault, with a probability in thousandths. `what` describes the fault.
    pub(crate) fn strikes(&self, per_thousand: u32, what: impl FnOnce() -> String) -> bool {
        if per_thousand == 0 {
            return false;
        }
        let mut dice = self.lock();
        if dice.calm || dice.generator.random_range(0..1_000) >= per_thousand {
            return false;
        }
        let number = dice.struck.len() as u64;
        dice.struck.push(what());
        !self.muted.contains(&number)
    }

    /// Stops all further faults.
    pub(crate) fn calm_down(&self) {
        self.lock().calm = true;
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.lock().calm
    }

    /// Returns the faults so far, including muted ones.
    pub(crate) fn struck(&self) -> Vec<String> {
        self.lock().struck.clone()
    }
}
