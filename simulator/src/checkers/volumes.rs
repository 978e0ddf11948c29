//! Volumes: a host removes what it keeps of a VM only when the VM was deleted, and then it does.

use std::collections::{BTreeMap, BTreeSet};

use blixard_node::ids::{NodeId, VmId};
use blixard_node::state::State;

use super::Breach;
use crate::hypervisor::{Fact, Truth};

/// What becomes of a deleted VM's volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// They are to be removed.
    Purges,
    /// They were to be removed and may stay after all.
    Spares,
    /// They stay.
    Keeps,
}

#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// Each VM on each host that it has run on since the host last removed what it kept.
    there: BTreeSet<(NodeId, VmId)>,
    deleted: BTreeMap<VmId, Deletion>,
    /// Hosts ever given up: nobody waits for them.
    lost: BTreeSet<NodeId>,
}

impl Volumes {
    pub(super) fn deleted(&mut self, vm: VmId, deletion: Deletion) {
        self.deleted.insert(vm, deletion);
    }

    pub(super) fn lost(&mut self, host: NodeId) {
        self.lost.insert(host);
    }

    /// `blind` when deletions may have gone unseen.
    pub(super) fn take(&mut self, truth: &Truth, blind: bool) -> Result<(), Breach> {
        let host = truth.host;
        match truth.fact {
            Fact::RunStarted { run, .. } => {
                self.there.insert((host, run.vm));
            }
            Fact::Purged { run } => {
                self.there.remove(&(host, run.vm));
                let may = matches!(self.deleted.get(&run.vm), Some(Deletion::Purges | Deletion::Spares));
                if !may && !blind {
                    let message =
                        format!("{host} has removed what it kept of {}, which nobody had asked for", run.vm);
                    return Err(Breach::new("volumes", message).nodes([host]).vm(run.vm));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether every deleted VM's volumes are gone from the hosts that were never given up.
    ///
    /// # Errors
    /// The first one left behind.
    pub(super) fn removed(&self, state: &State) -> Result<(), String> {
        let listed: BTreeSet<VmId> = state.vms.values().map(|vm| vm.id).collect();
        let left = self.there.iter().find(|(host, vm)| {
            let gone = !listed.contains(vm) && !self.lost.contains(host) && state.hosts.contains_key(host);
            gone && self.deleted.get(vm) == Some(&Deletion::Purges)
        });
        match left {
            Some((host, vm)) => Err(format!("{vm} is deleted, and {host} still keeps its volumes")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::command::Place;
    use blixard_node::hypervisor::Run;
    use blixard_node::ids::Epoch;
    use blixard_node::request::Write;
    use blixard_node::spec::Resources;
    use blixard_node::time::Time;

    use super::super::replay::tests::{Cluster, named};
    use super::*;

    const HOST: NodeId = NodeId(1);
    const RUN: Run = Run { vm: VmId(3), epoch: Epoch(1) };

    fn truth(fact: Fact) -> Truth {
        Truth { at: Time(1), host: HOST, fact }
    }

    fn with_a_run() -> Volumes {
        let mut volumes = Volumes::default();
        let (resources, local, deadline) = (Resources::default(), Time(1), Time(2));
        volumes
            .take(&truth(Fact::RunStarted { run: RUN, resources, local, deadline }), false)
            .expect("a run may start");
        volumes
    }

    #[test]
    fn only_a_deleted_vm_may_be_purged() {
        let purged = truth(Fact::Purged { run: RUN });
        assert!(with_a_run().take(&purged, false).is_err(), "nobody deleted it");
        assert!(with_a_run().take(&purged, true).is_ok(), "nobody can tell");
        for (deletion, may) in [(Deletion::Purges, true), (Deletion::Spares, true), (Deletion::Keeps, false)]
        {
            let mut volumes = with_a_run();
            volumes.deleted(RUN.vm, deletion);
            assert_eq!(volumes.take(&purged, false).is_ok(), may, "{deletion:?}");
        }
    }

    #[test]
    fn a_deleted_vms_volumes_must_go() {
        let mut cluster = Cluster::new();
        cluster.create("a", 1);
        let mut volumes = with_a_run();
        volumes.deleted(RUN.vm, Deletion::Purges);
        assert_eq!(cluster.state.vms[&named("a")].id, RUN.vm);
        assert!(volumes.removed(&cluster.state).is_ok(), "it is still listed");
        let delete = Write::DeleteVm { name: named("a"), generation: None, keep_volumes: false };
        cluster.write(2, delete, Place::Unneeded);
        assert!(volumes.removed(&cluster.state).is_err());
        let mut kept = with_a_run();
        kept.deleted(RUN.vm, Deletion::Keeps);
        assert!(kept.removed(&cluster.state).is_ok());
        volumes.lost(HOST);
        assert!(volumes.removed(&cluster.state).is_ok(), "nobody waits for a lost host");
    }

    #[test]
    fn messages_name_the_host_and_the_vm() {
        let breach = with_a_run().take(&truth(Fact::Purged { run: RUN }), false).unwrap_err();
        assert_eq!(breach.property, "volumes");
        assert_eq!(breach.message, "n1 has removed what it kept of vm3, which nobody had asked for");
    }

    #[test]
    fn only_what_is_to_go_and_is_still_there_is_missed() {
        let cluster = Cluster::new();
        let left = |deletion: Option<Deletion>| {
            let mut volumes = with_a_run();
            deletion.into_iter().for_each(|deletion| volumes.deleted(RUN.vm, deletion));
            volumes
        };
        let message = "vm3 is deleted, and n1 still keeps its volumes";
        assert_eq!(left(Some(Deletion::Purges)).removed(&cluster.state), Err(message.into()));
        assert_eq!(left(Some(Deletion::Spares)).removed(&cluster.state), Ok(()), "they may stay");
        assert_eq!(left(None).removed(&cluster.state), Ok(()), "nobody saw it deleted");
        let mut purged = left(Some(Deletion::Purges));
        purged.take(&truth(Fact::Purged { run: RUN }), false).expect("it was asked for");
        assert_eq!(purged.removed(&cluster.state), Ok(()));
        let stranger = Truth { host: NodeId(2), ..truth(Fact::Purged { run: RUN }) };
        let mut elsewhere = left(Some(Deletion::Purges));
        elsewhere.take(&stranger, false).expect("it was asked for");
        assert_eq!(elsewhere.removed(&cluster.state), Err(message.into()), "another host's are gone");
    }
}
