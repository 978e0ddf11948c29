//! A history as a sequence of events.

use std::collections::BTreeMap;
use std::hash::Hash;

use blixard_node::state::hash::hash_of;

use super::super::Timed;

/// A history in order. Each operation that returns has a slot that no other has while it is open; those that never return are kept by kind.
#[derive(Debug)]
pub(in super::super) struct Schedule {
    pub(super) events: Vec<Event>,
    slot: Vec<u32>,
    slots: usize,
    /// When each operation returns, as a place among the events.
    pub(super) end: Vec<u32>,
    /// Equal for operations that ask and were answered the same.
    pub(super) kind: Vec<u32>,
    /// Operations that never return, alike ones together, each in the order of their calls: exchanged, they would explain as much, so the
    /// one that was called first takes effect first, and how many did is all there is to remember.
    pub(super) unanswered: Vec<Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// An operation that returns is called.
    Call(u32),
    Return(u32),
    /// One that never returns is called: the next of this kind in [`Schedule::unanswered`].
    Offer(u32),
}

const NONE: u32 = u32::MAX;

impl Schedule {
    pub(in super::super) fn new<O: Eq + Hash>(history: &[Timed<O>]) -> Self {
        let mut moments = Vec::with_capacity(history.len() * 2);
        for (number, timed) in history.iter().enumerate() {
            let number = number as u32;
            moments.push((timed.invoked, false, number));
            if let Some(returned) = timed.returned {
                moments.push((returned, true, number));
            }
        }
        moments.sort_unstable();
        let mut schedule = Self {
            events: Vec::with_capacity(moments.len()),
            slot: vec![NONE; history.len()],
            slots: 0,
            end: vec![NONE; history.len()],
            kind: kinds(history),
            unanswered: Vec::new(),
        };
        let mut free: Vec<u32> = Vec::new();
        let mut offered: BTreeMap<u32, u32> = BTreeMap::new();
        for (_, is_return, number) in moments {
            let op = number as usize;
            if is_return {
                free.push(schedule.slot[op]);
                schedule.end[op] = schedule.events.len() as u32;
                schedule.events.push(Event::Return(number));
            } else if history[op].returned.is_none() {
                let fresh = schedule.unanswered.len() as u32;
                let kind = *offered.entry(schedule.kind[op]).or_insert(fresh);
                if kind == fresh {
                    schedule.unanswered.push(Vec::new());
                }
                schedule.unanswered[kind as usize].push(number);
                schedule.events.push(Event::Offer(kind));
            } else {
                schedule.slot[op] = free.pop().unwrap_or_else(|| {
                    schedule.slots += 1;
                    schedule.slots as u32 - 1
                });
                schedule.events.push(Event::Call(number));
            }
        }
        schedule
    }

    /// The most operations that are open at once, those that never return not among them.
    pub(in super::super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn slot(&self, op: u32) -> usize {
        self.slot[op as usize] as usize
    }
}

/// Numbers the operations so that equal ones have equal numbers.
fn kinds<O: Eq + Hash>(history: &[Timed<O>]) -> Vec<u32> {
    let mut firsts: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut kinds = Vec::with_capacity(history.len());
    for (number, timed) in history.iter().enumerate() {
        let alike = firsts.entry(hash_of(&timed.op)).or_default();
        let same = alike.iter().find(|first| history[**first as usize].op == timed.op).copied();
        kinds.push(same.unwrap_or_else(|| {
            alike.push(number as u32);
            number as u32
        }));
    }
    kinds
}
