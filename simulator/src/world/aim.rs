//! Faults that wait for the moment at which they hurt.

use super::event::Event;
use super::{Phase, World};
use crate::scenario::{Aim, Among};
use blixard_node::codec::decode_conf_change;
use blixard_node::message::{Body, Message};

/// The numbers of raft's messages (`eraftpb.proto`), and of its entries and changes of members.
mod kinds {
    pub(super) const APPEND: u64 = 3;
    pub(super) const REQUEST_VOTE: u64 = 5;
    pub(super) const VOTE: u64 = 6;
    pub(super) const TIMEOUT_NOW: u64 = 14;
    pub(super) const REQUEST_PRE_VOTE: u64 = 17;
    pub(super) const PRE_VOTE: u64 = 18;
    /// An entry that changes the members.
    pub(super) const CHANGE: u64 = 2;
    pub(super) const ADD: u64 = 0;
    pub(super) const REMOVE: u64 = 1;
}

/// The faults that are due and wait for their moment.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Which moments are waited for, as a bit mask, because most moments are nobody's.
    aims: u32,
    faults: Vec<(Aim, usize)>,
}

impl Waiting {
    pub(super) fn add(&mut self, aim: Aim, fault: usize) {
        // One that is due again before its moment came goes on waiting.
        if !self.faults.contains(&(aim, fault)) {
            self.faults.push((aim, fault));
            self.aims |= 1 << aim as u32;
        }
    }

    fn awaits(&self, aim: Aim) -> bool {
        self.aims >> aim as u32 & 1 == 1
    }

    fn refresh(&mut self) {
        self.aims = self.faults.iter().fold(0, |aims, (aim, _)| aims | 1 << *aim as u32);
    }
}

/// Whether it is a vote or asks for one.
pub(super) fn is_vote(message: &Message) -> bool {
    of_arrival(message) == Some(Aim::Election)
}

/// The moment that the arrival of a message is for its receiver.
fn of_arrival(message: &Message) -> Option<Aim> {
    match &message.body {
        Body::Raft(raft) => match raft.get_msg_type() as u64 {
            kinds::REQUEST_VOTE | kinds::VOTE | kinds::REQUEST_PRE_VOTE | kinds::PRE_VOTE => {
                Some(Aim::Election)
            }
            kinds::TIMEOUT_NOW => Some(Aim::HandOver),
            _ => None,
        },
        Body::SnapshotChunk(_) => Some(Aim::Snapshot),
        Body::HeartbeatAck(ack) if ack.ttl.0 > 0 => Some(Aim::Lease),
        _ => None,
    }
}

/// Whether a change arrives with it that takes voters in and others out.
fn exchanges(message: &Message) -> bool {
    let Body::Raft(raft) = &message.body else { return false };
    raft.get_msg_type() as u64 == kinds::APPEND
        && raft.entries.iter().filter(|entry| entry.get_entry_type() as u64 == kinds::CHANGE).any(|entry| {
            decode_conf_change(&entry.data).is_ok_and(|change| {
                let has = |kind| change.changes.iter().any(|one| one.get_change_type() as u64 == kind);
                has(kinds::ADD) && has(kinds::REMOVE)
            })
        })
}

impl World<'_> {
    /// Something happens on `host` at this moment: what waits for it strikes soon.
    pub(super) fn moment(&mut self, aim: Aim, host: usize) {
        if !self.plan.waiting.awaits(aim) || self.phase != Phase::Safety {
            return;
        }
        let mut place = 0;
        while let Some((awaited, number)) = self.plan.waiting.faults.get(place).copied() {
            let concerns = awaited == aim && self.concerns(self.plan.strikes.fault(number).among, host);
            if !concerns {
                place += 1;
                continue;
            }
            self.plan.waiting.faults.remove(place);
            let after = self.plan.strikes.draw_within(number);
            let struck = Event::Aimed { number: number as u32, host: host as u16 };
            self.heap.push_first(self.now.get() + after.0, struck);
        }
        self.plan.waiting.refresh();
    }

    pub(super) fn moment_of_arrival(&mut self, message: &Message, host: usize) {
        if let Some(aim) = of_arrival(message) {
            self.moment(aim, host);
        }
        if self.plan.waiting.awaits(Aim::Exchange) && exchanges(message) {
            self.moment(Aim::Exchange, host);
        }
    }

    fn concerns(&self, among: Among, host: usize) -> bool {
        match among {
            Among::Any => true,
            Among::Voters => self.is_voter(host),
            Among::Workers => !self.is_voter(host),
            Among::Leader => self.leader() == Some(host),
            Among::Followers => self.leader() != Some(host) && self.is_voter(host),
        }
    }
}
