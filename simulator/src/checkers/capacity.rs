//! Capacity: what truly runs on a host never takes more than the host offers.

use std::collections::BTreeMap;

use blixard_node::hypervisor::Run;
use blixard_node::ids::NodeId;
use blixard_node::spec::Resources;

use super::Breach;
use crate::hypervisor::{Fact, Truth};

#[derive(Debug, Default)]
pub(super) struct Capacity {
    offers: BTreeMap<NodeId, Resources>,
    running: BTreeMap<(NodeId, Run), Resources>,
    taken: BTreeMap<NodeId, Resources>,
}

impl Capacity {
    pub(super) fn host(&mut self, host: NodeId, offers: Resources) {
        self.offers.insert(host, offers);
    }

    pub(super) fn take(&mut self, truth: &Truth) -> Result<(), Breach> {
        let host = truth.host;
        match truth.fact {
            Fact::RunStarted { run, resources, .. } => {
                self.running.insert((host, run), resources);
                let taken = self.taken.entry(host).or_default();
                *taken = taken.plus(resources);
                match self.offers.get(&host) {
                    Some(offers) if exceeds(*taken, *offers) => {
                        let message = format!("VMs on {host} take {taken:?}, it offers {offers:?}");
                        Err(Breach::new("capacity", message).nodes([host]))
                    }
                    _ => Ok(()),
                }
            }
            Fact::RunEnded { run, .. } => {
                if let Some(resources) = self.running.remove(&(host, run)) {
                    let taken = self.taken.entry(host).or_default();
                    *taken = taken.minus(resources);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Compared here and not by the node's own comparison, which may be what is wrong.
fn exceeds(taken: Resources, offers: Resources) -> bool {
    taken.vcpus > offers.vcpus || taken.memory_mib > offers.memory_mib
}

#[cfg(test)]
mod tests {
    use blixard_node::ids::{Epoch, VmId};
    use blixard_node::time::Time;

    use super::*;

    const NODE: NodeId = NodeId(1);

    fn resources(vcpus: u32) -> Resources {
        Resources { vcpus, memory_mib: 64 }
    }

    fn started(vm: u64, vcpus: u32) -> Truth {
        let run = Run { vm: VmId(vm), epoch: Epoch(1) };
        let fact = Fact::RunStarted { run, resources: resources(vcpus), local: Time(1), deadline: Time(2) };
        Truth { at: Time(1), host: NODE, fact }
    }

    fn ended(vm: u64) -> Truth {
        let run = Run { vm: VmId(vm), epoch: Epoch(1) };
        Truth { at: Time(1), host: NODE, fact: Fact::RunEnded { run, local: Time(1), deadline: Time(2) } }
    }

    fn feed(truths: &[Truth]) -> Result<(), Breach> {
        let mut checker = Capacity::default();
        checker.host(NODE, Resources { vcpus: 4, memory_mib: 1_000 });
        truths.iter().try_for_each(|truth| checker.take(truth))
    }

    #[test]
    fn a_full_host_passes() {
        assert_eq!(feed(&[started(1, 2), started(2, 2)]), Ok(()));
        assert_eq!(feed(&[started(1, 4), ended(1), started(2, 4)]), Ok(()));
    }

    #[test]
    fn one_too_many_is_found() {
        assert_eq!(feed(&[started(1, 2), started(2, 3)]).unwrap_err().property, "capacity");
        assert_eq!(feed(&[started(1, 4), ended(2), started(2, 1)]).unwrap_err().property, "capacity");
    }

    #[test]
    fn the_message_names_what_is_taken_and_what_is_there() {
        let breach = feed(&[started(1, 2), started(2, 3)]).unwrap_err();
        assert_eq!(
            breach.message,
            "VMs on n1 take Resources { vcpus: 5, memory_mib: 128 }, \
             it offers Resources { vcpus: 4, memory_mib: 1000 }"
        );
    }

    #[test]
    fn memory_counts_like_processors() {
        let with_memory = |vm, memory_mib| {
            let run = Run { vm: VmId(vm), epoch: Epoch(1) };
            let resources = Resources { vcpus: 1, memory_mib };
            let fact = Fact::RunStarted { run, resources, local: Time(1), deadline: Time(2) };
            Truth { at: Time(1), host: NODE, fact }
        };
        assert_eq!(feed(&[with_memory(1, 999), with_memory(2, 1)]), Ok(()));
        assert_eq!(feed(&[with_memory(1, 999), with_memory(2, 2)]).unwrap_err().property, "capacity");
    }

    #[test]
    fn hosts_are_told_apart() {
        let elsewhere = |truth: Truth| Truth { host: NodeId(2), ..truth };
        assert_eq!(feed(&[started(1, 4), elsewhere(started(2, 4))]), Ok(()), "of host 2 nothing is known");
        assert!(feed(&[started(1, 4), elsewhere(ended(1)), started(2, 1)]).is_err(), "it ended elsewhere");
    }
}
