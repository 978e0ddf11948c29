//! Marks on rare states worth reaching: those of the node's code, and those that only who sees the whole world can tell. Nothing reads them but
//! the summary of a run or a sweep; what was never reached was never tested.

use blixard_node::probes::{Probe as NodeProbe, Probes as NodeProbes};

macro_rules! world_probes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A state of the world worth reaching.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum WorldProbe {
            $($(#[$doc])* $name,)*
        }

        impl WorldProbe {
            /// All of them.
            pub const ALL: &'static [WorldProbe] = &[$(WorldProbe::$name,)*];

            /// Its stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(WorldProbe::$name => $text,)*
                }
            }
        }
    };
}

world_probes! {
    /// A process died when its write was durable, and before anything that depends on it had left.
    DiedBeforeRelease = "crash-between-commit-and-release",
    /// The same, and it led.
    LeaderDiedBeforeRelease = "leader-crash-between-commit-and-release",
    /// A process died while a write was under way.
    DiedMidWrite = "crash-in-mid-write",
    /// The power went while a write was under way.
    PowerLostMidWrite = "power-lost-in-mid-write",
    /// A process died while it opened.
    DiedOpening = "crash-while-opening",
    /// A disk failed while a process opened on it.
    DiskFailedOpening = "disk-error-while-opening",
    /// A leader ended itself after an error of its disk.
    LeaderLostDisk = "leader-ended-by-its-disk",
    /// A process was killed while it handed over to end in good order.
    KilledRetiring = "killed-while-retiring",
    /// A daemon ended and left VMs running.
    DiedOverVms = "daemon-ended-over-live-vms",
    /// So many voters were down at once that no quorum was left.
    QuorumDown = "quorum-down",
    /// Not one process was up.
    NobodyUp = "nobody-up",
    /// A leader was elected while another still took itself for one.
    TwoLeaders = "two-believe-they-lead",
    /// A leader's process stood still.
    LeaderPaused = "leader-paused",
    /// A leader's whole host was suspended.
    LeaderSuspended = "leader-suspended",
    /// A leader was cut off in one direction.
    LeaderHalfCut = "leader-cut-off-one-way",
    /// A leader's disk stalled.
    LeaderDiskStalled = "leaders-disk-stalled",
    /// A message arrived for a node whose disk is no more.
    MessageForTheDead = "message-for-a-node-that-is-no-more",
    /// A VM was killed at its deadline, by whoever holds it when the agent does not.
    KilledAtDeadline = "vm-killed-at-its-deadline",
    /// A host woke, and VMs on it were past their deadlines.
    WokePastDeadline = "host-woke-past-deadlines",
    /// A VM came alive within five seconds of its end on another host: the lease's margins are all that lay between.
    MovedQuickly = "vm-alive-elsewhere-within-five-seconds",
    /// The world was healed in the middle of a membership change.
    HealedInJoint = "healed-in-joint-change",
    /// The world was healed when nobody led.
    HealedWithoutLeader = "healed-without-a-leader",
    /// A process did not open because the cluster's level, as its disk has it, was above its own.
    OpenedBelowLevel = "open-below-the-level-refused",
    /// The world was healed when the members spoke several levels.
    HealedAmongVersions = "healed-among-several-versions",
}

/// A state worth reaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Of the node's code.
    Node(NodeProbe),
    /// Of the world.
    World(WorldProbe),
}

const COUNT: usize = NodeProbe::ALL.len() + WorldProbe::ALL.len();

const ALL: [Probe; COUNT] = {
    let mut all = [Probe::World(WorldProbe::DiedBeforeRelease); COUNT];
    let mut place = 0;
    while place < NodeProbe::ALL.len() {
        all[place] = Probe::Node(NodeProbe::ALL[place]);
        place += 1;
    }
    while place < COUNT {
        all[place] = Probe::World(WorldProbe::ALL[place - NodeProbe::ALL.len()]);
        place += 1;
    }
    all
};

impl Probe {
    /// All of them.
    pub const ALL: &'static [Probe] = &ALL;

    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node(probe) => probe.name(),
            Self::World(probe) => probe.name(),
        }
    }
}

/// Which probes were hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    node: NodeProbes,
    world: u64,
}

impl Probes {
    /// Marks one.
    pub fn hit(&mut self, probe: Probe) {
        match probe {
            Probe::Node(probe) => self.node.hit(probe),
            Probe::World(probe) => self.world |= 1 << probe as u32,
        }
    }

    /// Whether it was hit.
    #[must_use]
    pub fn has(&self, probe: Probe) -> bool {
        match probe {
            Probe::Node(probe) => self.node.has(probe),
            Probe::World(probe) => self.world & (1 << probe as u32) != 0,
        }
    }

    /// Adds those of a node.
    pub fn merge(&mut self, node: NodeProbes) {
        self.node.merge(node);
    }

    /// Those that were hit.
    pub fn iter(&self) -> impl Iterator<Item = Probe> + '_ {
        Probe::ALL.iter().copied().filter(|probe| self.has(*probe))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_probe_has_a_name_and_a_place_of_its_own() {
        let names: BTreeSet<&str> = Probe::ALL.iter().map(|probe| probe.name()).collect();
        assert_eq!(names.len(), Probe::ALL.len());
        assert!(WorldProbe::ALL.len() <= 64, "they are kept as bits");
        for probe in Probe::ALL {
            let mut probes = Probes::default();
            probes.hit(*probe);
            assert_eq!(probes.iter().collect::<Vec<_>>(), [*probe]);
        }
    }
}
