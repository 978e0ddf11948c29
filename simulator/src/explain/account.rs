//! What a narrator says, before it is cut to what fits.

use std::collections::BTreeMap;

use super::{STEPS_MAX, Step};
use crate::trace::Entry;

/// How much a step matters: when there are too many, the lightest go first, and of those the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Makes the picture rounder.
    Colour,
    /// Belongs to the chain.
    Link,
    /// Without it nothing can be understood.
    Core,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    said: BTreeMap<(usize, String), Weight>,
}

impl Account {
    /// Says that `text` happened at `entry`. Saying the same twice says it once.
    pub(super) fn say(&mut self, weight: Weight, entry: usize, text: impl Into<String>) {
        let kept = self.said.entry((entry, text.into())).or_insert(weight);
        *kept = weight.max(*kept);
    }

    pub(super) fn core(&mut self, entry: usize, text: impl Into<String>) {
        self.say(Weight::Core, entry, text);
    }

    pub(super) fn link(&mut self, entry: usize, text: impl Into<String>) {
        self.say(Weight::Link, entry, text);
    }

    pub(super) fn colour(&mut self, entry: usize, text: impl Into<String>) {
        self.say(Weight::Colour, entry, text);
    }

    /// Whether so little was said that the general narrator has to help.
    pub(super) fn is_thin(&self) -> bool {
        self.said.len() < 2
    }

    /// What fits, in the order of the log.
    pub(super) fn steps(self, entries: &[Entry]) -> Vec<Step> {
        let said = self.said;
        // Of two that say the same of one line, the longer one says it all.
        let is_said = |entry: usize, text: &str| {
            let mut others = said.range((entry, text.to_owned())..).take_while(|((at, _), _)| *at == entry);
            others.any(|((_, other), _)| other.len() > text.len() && other.starts_with(text))
        };
        let kept = said.iter().filter(|((entry, text), _)| !is_said(*entry, text));
        let mut ranked: Vec<(Weight, usize, String)> =
            kept.map(|((entry, text), weight)| (*weight, *entry, text.clone())).collect();
        ranked.sort_by_key(|(weight, entry, _)| std::cmp::Reverse((*weight, *entry)));
        ranked.truncate(STEPS_MAX);
        ranked.sort_by_key(|(_, entry, _)| *entry);
        let at = |entry: usize| entries.get(entry).map_or(0, |entry| entry.at);
        ranked.into_iter().map(|(_, entry, text)| Step { entry, at: at(entry), text }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_most_is_kept_in_order() {
        let mut account = Account::default();
        (0..20).for_each(|entry| account.colour(entry, "colour"));
        account.core(3, "core");
        account.link(1, "link");
        account.link(1, "link");
        account.core(1, "lin");
        let steps = account.steps(&[]);
        assert_eq!(steps.len(), STEPS_MAX);
        let shown: Vec<(usize, &str)> = steps.iter().map(|step| (step.entry, &*step.text)).collect();
        assert_eq!(&shown[..3], [(1, "link"), (3, "core"), (7, "colour")]);
    }
}
