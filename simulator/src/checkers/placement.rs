//! Placement: a VM is assigned to a member that may take it, under a new epoch. An oracle of its own: it looks at the outcome, not at
//! the scheduler's reasons.

use blixard_node::ids::{Epoch, NodeId, Revision, VmId};
use blixard_node::spec::VmName;
use blixard_node::state::{Host, State, Vm};

use super::Breach;

/// Where a VM stood before a command.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    id: VmId,
    name: VmName,
    assigned: Option<(NodeId, Epoch)>,
    epoch: Epoch,
    /// The host that its volumes are on.
    home: Option<NodeId>,
}

/// The seats of the VMs that a command may change.
pub(super) fn seats(state: &State, names: &[VmName]) -> Vec<Seat> {
    let seat = |vm: &Vm| {
        let home = vm.last_host.filter(|_| vm.spec.local_volume);
        Seat { id: vm.id, name: vm.name.clone(), assigned: vm.assigned, epoch: vm.epoch, home }
    };
    names.iter().filter_map(|name| state.vms.get(name)).map(seat).collect()
}

/// Looks at the VMs that were assigned anew at `revision`; `state` is the one after it.
pub(super) fn check(state: &State, revision: Revision, seats: &[Seat]) -> Result<(), Breach> {
    for seat in seats {
        let Some(vm) = state.vms.get(&seat.name) else { continue };
        let Some((node, epoch)) = vm.assigned.filter(|assigned| Some(*assigned) != seat.assigned) else {
            continue;
        };
        let wrong = if epoch <= seat.epoch {
            Some(format!("under {epoch}, which is not above {}", seat.epoch))
        } else {
            unfit(state, vm, node, seat.home)
        };
        if let Some(why) = wrong {
            let message = format!("at {revision} VM {} is assigned to {node}, {why}", vm.name);
            return Err(Breach::new("placement", message).nodes([node]).vm(vm.id).index(revision.0));
        }
    }
    Ok(())
}

/// The VMs that have lost their host, each with it; `state` is the one after the command.
pub(super) fn freed(state: &State, seats: &[Seat]) -> Vec<(VmId, NodeId)> {
    let freed = |seat: &Seat| {
        let (node, _) = seat.assigned?;
        let after = state.vms.get(&seat.name).filter(|vm| vm.id == seat.id);
        let stays = after.is_some_and(|vm| vm.assigned.is_some_and(|(now, _)| now == node));
        (!stays).then_some((seat.id, node))
    };
    seats.iter().filter_map(freed).collect()
}

/// Why `node` must not take `vm`.
fn unfit(state: &State, vm: &Vm, node: NodeId, home: Option<NodeId>) -> Option<String> {
    let Some(host) = state.hosts.get(&node) else { return Some("which is no member".into()) };
    let Host { lost, cordoned, leaving, spec, .. } = host;
    for (is, word) in [(lost, "lost"), (cordoned, "cordoned"), (leaving, "leaving")] {
        if *is {
            return Some(format!("which is {word}"));
        }
    }
    if let Some(home) = home.filter(|home| *home != node) {
        return Some(format!("and its volumes are on {home}"));
    }
    let lacks = |(key, value): &(&String, &String)| spec.labels.get(*key) != Some(*value);
    if let Some((key, value)) = vm.spec.requires.iter().find(lacks) {
        return Some(format!("which has no label {key}={value}"));
    }
    let neighbours = state.vms.values().filter(|other| other.id != vm.id);
    let mut neighbours = neighbours.filter(|other| other.assigned.is_some_and(|(there, _)| there == node));
    let shared =
        |other: &&Vm| other.spec.host_ports().any(|port| vm.spec.host_ports().any(|own| own == port));
    neighbours.find(shared).map(|other| format!("where VM {} has a port of its", other.name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blixard_node::command::Place;
    use blixard_node::request::Write;
    use blixard_node::spec::{Port, Protocol};

    use super::super::replay::tests::{Cluster, named};
    use super::*;

    const NODE: NodeId = NodeId(1);

    /// A VM `a` before and after it was started on `n1`, with `n1` and the VM changed in between.
    fn started(change: impl FnOnce(&mut Cluster, &mut Vec<Seat>)) -> Result<(), Breach> {
        let mut cluster = Cluster::new();
        cluster.create("b", 1);
        cluster.create("a", 2);
        let mut before = seats(&cluster.state, &[named("a")]);
        cluster.start("a", 3);
        change(&mut cluster, &mut before);
        check(&cluster.state, cluster.state.revision, &before)
    }

    fn breach(change: impl FnOnce(&mut Cluster, &mut Vec<Seat>)) -> String {
        let breach = started(change).expect_err("it must not be there");
        assert_eq!(breach.property, "placement");
        breach.message.split_once(", ").expect("a reason").1.to_owned()
    }

    fn host(cluster: &mut Cluster) -> &mut Host {
        cluster.state.hosts.get_mut(&NODE).expect("a member")
    }

    #[test]
    fn a_fit_host_passes_and_so_does_one_that_is_cordoned_later() {
        assert_eq!(started(|_, _| ()), Ok(()));
        let cordoned_later = |cluster: &mut Cluster, seats: &mut Vec<Seat>| {
            *seats = super::seats(&cluster.state, &[named("a")]);
            host(cluster).cordoned = true;
        };
        assert_eq!(started(cordoned_later), Ok(()));
    }

    #[test]
    fn a_host_that_takes_no_vms_is_found() {
        assert_eq!(breach(|cluster, _| host(cluster).lost = true), "which is lost");
        assert_eq!(breach(|cluster, _| host(cluster).cordoned = true), "which is cordoned");
        assert_eq!(breach(|cluster, _| host(cluster).leaving = true), "which is leaving");
        assert_eq!(breach(|cluster, _| drop(cluster.state.hosts.remove(&NODE))), "which is no member");
    }

    #[test]
    fn an_old_epoch_is_found() {
        assert_eq!(breach(|_, seats| seats[0].epoch = Epoch(1)), "under e1, which is not above e1");
    }

    #[test]
    fn another_home_is_found() {
        let elsewhere = breach(|_, seats| seats[0].home = Some(NodeId(2)));
        assert_eq!(elsewhere, "and its volumes are on n2");
    }

    #[test]
    fn a_label_that_is_missing_is_found() {
        let asks = |cluster: &mut Cluster, _: &mut Vec<Seat>| {
            let vm = cluster.state.vms.get_mut(&named("a")).expect("it is there");
            Arc::make_mut(&mut vm.spec).requires.insert("disk".into(), "fast".into());
        };
        assert_eq!(breach(asks), "which has no label disk=fast");
    }

    #[test]
    fn a_port_that_another_vm_has_is_found() {
        let ports = |cluster: &mut Cluster, _: &mut Vec<Seat>| {
            for vm in cluster.state.vms.values_mut() {
                vm.assigned = Some((NODE, Epoch(1)));
                let port = Port { host: 80, guest: 80, protocol: Protocol::Tcp };
                Arc::make_mut(&mut vm.spec).ports = vec![port];
            }
        };
        assert_eq!(breach(ports), "where VM b has a port of its");
    }

    #[test]
    fn a_vm_frees_its_host_when_it_is_known_to_have_stopped() {
        let mut cluster = Cluster::new();
        cluster.create("a", 1);
        cluster.start("a", 2);
        let vm = cluster.state.vms[&named("a")].id;
        let before = seats(&cluster.state, &[named("a")]);
        cluster.write(3, Write::StopVm { name: named("a"), generation: None }, Place::Unneeded);
        assert_eq!(freed(&cluster.state, &before), [], "it was only asked to stop");
        cluster.state.vms.get_mut(&named("a")).expect("it is there").assigned = None;
        assert_eq!(freed(&cluster.state, &before), [(vm, NODE)]);
        cluster.state.vms.remove(&named("a"));
        assert_eq!(freed(&cluster.state, &before), [(vm, NODE)]);
    }

    #[test]
    fn a_vm_that_stays_is_not_looked_at() {
        let mut cluster = Cluster::new();
        cluster.create("a", 1);
        cluster.start("a", 2);
        let before = seats(&cluster.state, &[named("a")]);
        host(&mut cluster).lost = true;
        cluster.write(3, Write::StopVm { name: named("a"), generation: None }, Place::Unneeded);
        assert_eq!(check(&cluster.state, cluster.state.revision, &before), Ok(()));
    }
}
