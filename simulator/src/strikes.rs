//! When the faults of a scenario strike, and what chance says of each strike. Each fault has a stream of its own, and so has each strike.

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use crate::scenario::{Fault, Scenario, Spread, When};
use crate::world::streams;

/// The faults of a scenario.
#[derive(Debug)]
pub(crate) struct Strikes {
    seed: u64,
    /// True time from which they count.
    from: u64,
    entries: Vec<Entry>,
    /// Each strike as a fault of its own, with what was drawn for it.
    struck: Vec<Fault>,
}

#[derive(Debug)]
struct Entry {
    fault: Fault,
    /// When it strikes, and for how long.
    rng: Rng,
    /// The number of its first strike's streams; the others follow.
    draws: u64,
}

/// One strike.
#[derive(Debug)]
pub(crate) struct Strike {
    /// Its fault. Whoever strikes notes here what was drawn.
    pub(crate) fault: Fault,
    /// For how long.
    pub(crate) lasts: Duration,
    pub(crate) dice: Dice,
    draws: u64,
}

/// The chance of one strike: whom it strikes, and what it does there. Two streams, so that naming the one leaves the other alone.
#[derive(Debug)]
pub(crate) struct Dice {
    pub(crate) whom: Rng,
    pub(crate) how: Rng,
}

impl Strikes {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut swarm = Rng::new(seed, streams::SWARM);
        let mut entries = Vec::new();
        for (number, fault) in scenario.faults.iter().enumerate() {
            let left_out = scenario.run.swarm && swarm.ratio(1, 2);
            if !left_out {
                let number = number as u64;
                entries.push(Entry {
                    fault: fault.clone(),
                    rng: Rng::new(seed, streams::FAULTS | number),
                    draws: fault.draws.unwrap_or(streams::nth(number, 0)),
                });
            }
        }
        Self { seed, from: scenario.run.warmup.0, entries, struck: Vec::new() }
    }

    /// How many faults there are; they are numbered from 0.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The fault as its scenario has it.
    pub(crate) fn fault(&self, number: usize) -> &Fault {
        &self.entries[number].fault
    }

    /// How long after the warm-up it strikes first.
    pub(crate) fn draw_first(&mut self, number: usize) -> Duration {
        match self.entries[number].fault.when {
            When::At(at) => at,
            When::Every(_) => self.draw_next(number).unwrap_or(Duration::ZERO),
        }
    }

    /// How long after a strike it strikes again, if it does.
    pub(crate) fn draw_next(&mut self, number: usize) -> Option<Duration> {
        let entry = &mut self.entries[number];
        match entry.fault.when {
            When::At(_) => None,
            When::Every(every) => Some(every.draw(&mut entry.rng)),
        }
    }

    /// How long after its moment an aimed fault strikes.
    pub(crate) fn draw_within(&mut self, number: usize) -> Duration {
        let entry = &mut self.entries[number];
        entry.fault.within.draw(&mut entry.rng)
    }

    /// Its next strike.
    pub(crate) fn draw(&mut self, number: usize) -> Strike {
        let entry = &mut self.entries[number];
        let takes = entry.fault.takes("lasts");
        let lasts = if takes { entry.fault.lasts.draw(&mut entry.rng) } else { Duration::ZERO };
        let draws = entry.draws;
        entry.draws += 1;
        let dice = Dice {
            whom: Rng::new(self.seed, streams::STRIKES | draws),
            how: Rng::new(self.seed, streams::BLOWS | draws),
        };
        Strike { fault: entry.fault.clone(), lasts, dice, draws }
    }

    /// It has struck, at true time `now`. Its number in the log, from 1.
    pub(crate) fn note(&mut self, now: u64, strike: Strike) -> u64 {
        let struck = Fault {
            when: When::At(Duration(now - self.from)),
            lasts: Spread::fixed(strike.lasts),
            draws: Some(strike.draws),
            aim: None,
            ..strike.fault
        };
        self.struck.push(struck.with_what_it_takes());
        self.struck.len() as u64
    }

    /// Each strike so far as a fault of its own.
    pub(crate) fn take_struck(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.struck)
    }
}
