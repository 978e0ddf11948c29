//! Artifacts: whatever hosts build, all runs of a VM execute the very same until the VM is given another spec.

use std::collections::BTreeMap;

use blixard_node::ids::{NodeId, VmId};

use super::Breach;
use crate::hypervisor::{Fact, Truth};

#[derive(Debug, Default)]
pub(super) struct Artifacts {
    /// What the first run of each VM since its last update has executed, and where.
    first: BTreeMap<VmId, (u64, NodeId)>,
}

impl Artifacts {
    /// The VM was given another spec: whatever its hosts build next is agreed upon anew.
    pub(super) fn updated(&mut self, vm: VmId) {
        self.first.remove(&vm);
    }

    /// `blind` when updates may have gone unseen.
    pub(super) fn take(&mut self, truth: &Truth, blind: bool) -> Result<(), Breach> {
        let Fact::Executes { run, artifact } = truth.fact else { return Ok(()) };
        let (first, there) = *self.first.entry(run.vm).or_insert((artifact, truth.host));
        if first == artifact || blind {
            return Ok(());
        }
        let message = format!(
            "{} executes {artifact:016x} on {} under {:?}, and executed {first:016x} on {there}",
            run.vm, truth.host, run.epoch
        );
        Err(Breach::new("artifacts", message).nodes([there, truth.host]).vm(run.vm))
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::hypervisor::Run;
    use blixard_node::ids::Epoch;
    use blixard_node::time::Time;

    use super::*;

    fn executes(host: u64, epoch: u64, artifact: u64) -> Truth {
        let run = Run { vm: VmId(7), epoch: Epoch(epoch) };
        Truth { at: Time(epoch), host: NodeId(host), fact: Fact::Executes { run, artifact } }
    }

    #[test]
    fn another_artifact_needs_another_spec() {
        let mut checker = Artifacts::default();
        for truth in [executes(1, 1, 5), executes(2, 2, 5)] {
            assert_eq!(checker.take(&truth, false), Ok(()));
        }
        checker.updated(VmId(7));
        assert_eq!(checker.take(&executes(2, 3, 6), false), Ok(()));
        assert_eq!(checker.take(&executes(3, 4, 5), true), Ok(()));
        let breach = checker.take(&executes(3, 4, 5), false).unwrap_err();
        assert_eq!(breach.property, "artifacts");
        assert_eq!(
            breach.message,
            "vm7 executes 0000000000000005 on n3 under e4, and executed 0000000000000006 on n2"
        );
    }

    #[test]
    fn vms_are_told_apart() {
        let mut checker = Artifacts::default();
        let other = Run { vm: VmId(8), epoch: Epoch(1) };
        let other = Truth { fact: Fact::Executes { run: other, artifact: 6 }, ..executes(1, 1, 5) };
        assert_eq!(checker.take(&executes(1, 1, 5), false), Ok(()));
        assert_eq!(checker.take(&other, false), Ok(()));
        checker.updated(VmId(8));
        assert!(checker.take(&executes(1, 2, 6), false).is_err(), "the other VM was given another spec");
        assert_eq!(checker.take(&executes(1, 3, 5), false), Ok(()), "what it ran first still counts");
    }
}
