//! Bits that flip on a disk. A node notices by its checksums, when it opens, and refuses its copy. What it holds is not repaired: its
//! operator gives the host an empty disk, and it joins under a new node id and gets everything from its peers.
//!
//! The budget. A copy is refused whole, so what the faults may destroy is counted in whole copies: a disk that has rotted counts as lost
//! from then on (`suspect`), until a process has opened it, which proves it sound. With `run.keep_quorum` no fault takes a copy that
//! the voters need for a quorum, under any of the views that nodes have of the members. Without it, what is left is proved at the end.

use blixard_node::time::Duration;
use blixard_runtime::{Disk as _, DiskError, Fatal};

use super::World;
use super::operator::Ask;
use super::process::End;
use crate::disk::Loss;
use crate::scenario::Fault;
use crate::trace::Kind;

/// Why a disk that has rotted is gone.
pub(super) const ROTTED: &str = "its disk had rotted and was refused (BLX-DISK-003)";

impl World<'_> {
    /// Flips bits of a disk. The process on it goes on and ends within `lasts`; the next one finds out.
    pub(super) fn rot(
        &mut self,
        fault: &mut Fault,
        lasts: Duration,
        dice: &mut crate::strikes::Dice,
    ) -> super::faults::Struck {
        let host = self.aim(fault, dice)?;
        if self.hosts[host].suspect || !self.may_lose(host) {
            return None;
        }
        let bits = u32::try_from(fault.times).unwrap_or(u32::MAX);
        self.hosts[host].disk.rot(bits, &mut dice.how);
        self.hosts[host].suspect = true;
        self.hosts[host].down_for = Duration::from_millis(100);
        self.die_within_exactly(host, lasts);
        Some((1 << host, None))
    }

    /// Whether a process ended because it refuses what has rotted.
    pub(super) fn is_rot(&self, number: usize, fatal: &Fatal) -> bool {
        let refused = matches!(
            fatal,
            Fatal::Disk(
                DiskError::Corrupt { .. } | DiskError::Foreign { .. } | DiskError::NewerFormat { .. }
            )
        );
        refused && self.hosts[number].suspect
    }

    /// The operator reads what the node says, gives the host an empty disk, and has the old id removed.
    pub(super) fn replace_rotten_disk(&mut self, number: usize) {
        let old = self.hosts[number].node;
        self.counts.rot_refused += 1;
        self.note_lost(old, ROTTED);
        self.wipe(number);
        let after = self.scenario.process.restart.draw(&mut self.hosts[number].process_rng);
        self.start_after(number, after);
        self.operate(Ask::Remove { node: old, host: None });
    }

    /// Before the core is chosen it has to be known which disks are there: those that have rotted are opened, or refused.
    pub(super) fn settle_rot(&mut self) {
        for number in 0..self.hosts.len() {
            if !self.hosts[number].suspect {
                continue;
            }
            self.end_process(number, End::Killed, Some(Loss::Process));
            match self.hosts[number].disk.copy().load() {
                Ok(_) => {}
                Err(
                    DiskError::Corrupt { .. } | DiskError::Foreign { .. } | DiskError::NewerFormat { .. },
                ) => {
                    self.log(Kind::OpenFailed, Some(number), [self.hosts[number].node.0]);
                    self.replace_rotten_disk(number);
                }
                Err(error) => {
                    let node = self.hosts[number].node;
                    return self.fail("reopens", format!("{node}: rot is reported as {error}"));
                }
            }
        }
    }
}
