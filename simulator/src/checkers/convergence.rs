//! Convergence: once the core is healed it has a leader, its replicas hold one state with nothing left to carry out, every VM is where
//! it is wanted, and nothing runs that is not assigned.

use std::collections::BTreeSet;

use blixard_node::hypervisor::Run;
use blixard_node::ids::NodeId;
use blixard_node::spec::{Phase, RestartPolicy, Wanted};
use blixard_node::state::scheduler::Promised;
use blixard_node::state::{State, Vm};

use super::single_run::SingleRun;
use super::view::NodeView;

/// Whether the core has converged. `up` are the hosts whose daemon runs and can reach the core.
///
/// # Errors
/// The first thing that is still missing.
pub(super) fn converged<N: NodeView>(
    core: &[&N],
    up: &BTreeSet<NodeId>,
    runs: &SingleRun,
) -> Result<(), String> {
    let state = one_state(core)?;
    if let Some((node, _)) = state.hosts.iter().find(|(node, host)| host.lost && up.contains(node)) {
        return Err(format!("{node} is up, but still counts as lost"));
    }
    let known = |node: &&NodeId| state.hosts.contains_key(node) || state.removed.contains(node);
    if let Some(node) = up.iter().find(|node| !known(node)) {
        return Err(format!("{node} is up, but has not been taken in"));
    }
    for vm in state.vms.values() {
        settled(state, vm, up, runs).map_err(|why| format!("VM {}: {why}", vm.name))?;
    }
    no_orphan(state, runs)
}

/// The leader's state, which all replicas of the core hold.
fn one_state<'a, N: NodeView>(core: &[&'a N]) -> Result<&'a State, String> {
    let leader = leader_of(core).ok_or("no core node leads")?;
    let (log, state) = leader.log().zip(leader.state()).ok_or("the leader has no state")?;
    if log.applied != log.last_index {
        let count = log.last_index - log.applied;
        return Err(format!("{} has {count} entries it has not carried out", leader.id()));
    }
    for node in core.iter().filter(|node| leader.replicates_to(node.id())) {
        let Some((other_log, other)) = node.log().zip(node.state()) else {
            return Err(format!("{} has not got its replica yet", node.id()));
        };
        if (other_log.applied, other.hash()) != (log.applied, state.hash()) {
            let (here, there) = (other_log.applied, log.applied);
            return Err(format!("{} stands at r{here}, the leader {} at r{there}", node.id(), leader.id()));
        }
    }
    Ok(state)
}

/// The core's leader of the highest term.
pub(super) fn leader_of<'a, N: NodeView>(core: &[&'a N]) -> Option<&'a N> {
    let leads = |node: &&&'a N| node.log().is_some_and(|log| log.is_leader);
    core.iter().filter(leads).max_by_key(|node| node.log().map(|log| log.term)).copied()
}

fn settled(state: &State, vm: &Vm, up: &BTreeSet<NodeId>, runs: &SingleRun) -> Result<(), String> {
    let gone = |node: &NodeId| !up.contains(node);
    if vm.deleting && vm.assigned.is_none() && vm.purging.iter().all(gone) {
        // Its volumes are on hosts that will not come back: it waits for them, as long as nobody says otherwise.
        return Ok(());
    }
    if vm.deleting {
        let host = vm.assigned.map(|(node, epoch)| format!(" on {node} under {epoch}")).unwrap_or_default();
        return Err(format!(
            "is still being deleted{host}: {} at {:?} of {:?} ({})",
            vm.phase, vm.observed_generation, vm.generation, vm.reason
        ));
    }
    let no_room = || state.place(vm, &Promised::new()).is_err();
    match (vm.wanted, vm.assigned) {
        (Wanted::Stopped, None) => Ok(()),
        (Wanted::Stopped, Some((node, _))) => Err(format!("is not yet confirmed to be stopped on {node}")),
        (Wanted::Running, None) if no_room() => Ok(()),
        (Wanted::Running, None) => Err("has no host although one could take it".into()),
        (Wanted::Running, Some((node, epoch))) => {
            let lost = state.hosts.get(&node).is_none_or(|host| host.lost);
            if lost && (!vm.may_move() || no_room()) {
                return Ok(());
            }
            if lost || !up.contains(&node) {
                return Err(format!("is still assigned to {node}, which is gone"));
            }
            let left = vm.phase == Phase::Exited && vm.spec.restart != RestartPolicy::Always;
            let runs_there = runs.is_alive(node, Run { vm: vm.id, epoch });
            match (vm.phase, runs_there) {
                _ if left => Ok(()),
                (Phase::Running, true) => Ok(()),
                (Phase::Running, false) => Err(format!("is said to run on {node}, but does not")),
                (phase, _) => Err(format!("is {phase} on {node} ({})", vm.reason)),
            }
        }
    }
}

/// No true run without an assignment; those on suspended hosts do not execute and are left out.
fn no_orphan(state: &State, runs: &SingleRun) -> Result<(), String> {
    for alive in runs.alive().filter(|alive| !runs.is_frozen(alive.host)) {
        let mine = |vm: &&Vm| vm.id == alive.run.vm;
        let assigned = state.vms.values().find(mine).filter(|vm| vm.wanted == Wanted::Running);
        if assigned.and_then(|vm| vm.assigned) != Some((alive.host, alive.run.epoch)) {
            return Err(format!("{:?} runs on {}, but is not assigned there", alive.run, alive.host));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use blixard_node::command::{Action, Place};
    use blixard_node::hypervisor::VmReport;
    use blixard_node::ids::{Epoch, Generation};
    use blixard_node::request::Write;
    use blixard_node::spec::Resources;
    use blixard_node::time::Time;

    use super::super::replay::tests::{Cluster, named};
    use super::*;
    use crate::hypervisor::{Fact, Truth};

    const NODE: NodeId = NodeId(1);

    fn converges(cluster: &Cluster, runs: &SingleRun) -> Result<(), String> {
        converged(&[cluster], &BTreeSet::from([NODE]), runs)
    }

    fn run_of(cluster: &Cluster) -> Run {
        let vm = &cluster.state.vms[&named("a")];
        Run { vm: vm.id, epoch: Epoch(1) }
    }

    fn report(cluster: &mut Cluster, phase: Phase) {
        let run = run_of(cluster);
        let generation = cluster.state.vms[&named("a")].generation;
        let report = VmReport { run, generation, phase, reason: String::new(), restarts: 0, artifact: None };
        cluster.run(Action::Report { node: NODE, reports: vec![report] });
    }

    fn running(run: Run) -> SingleRun {
        let mut runs = SingleRun::default();
        let fact =
            Fact::RunStarted { run, resources: Resources::default(), local: Time(1), deadline: Time(2) };
        runs.take(&Truth { at: Time(1), host: NODE, fact }).expect("one run");
        runs
    }

    fn started() -> Cluster {
        let mut cluster = Cluster::new();
        cluster.create("a", 1);
        cluster.start("a", 2);
        cluster
    }

    #[test]
    fn a_wanted_vm_has_to_run_in_truth_and_in_the_state() {
        let mut cluster = started();
        let run = run_of(&cluster);
        assert_eq!(converges(&cluster, &running(run)), Err("VM a: is pending on n1 (assigned to n1)".into()));
        report(&mut cluster, Phase::Running);
        assert_eq!(converges(&cluster, &running(run)), Ok(()));
        let nothing = SingleRun::default();
        assert_eq!(converges(&cluster, &nothing), Err("VM a: is said to run on n1, but does not".into()));
        let gone = converged(&[&cluster], &BTreeSet::new(), &running(run));
        assert_eq!(gone, Err("VM a: is still assigned to n1, which is gone".into()));
    }

    #[test]
    fn a_stopped_vm_has_to_be_confirmed_and_gone() {
        let mut cluster = started();
        let run = run_of(&cluster);
        cluster.write(3, Write::StopVm { name: named("a"), generation: None }, Place::Unneeded);
        let nothing = SingleRun::default();
        assert!(converges(&cluster, &nothing).is_err(), "not confirmed");
        assert_eq!(cluster.state.vms[&named("a")].generation, Generation(3));
        report(&mut cluster, Phase::Stopped);
        assert_eq!(converges(&cluster, &nothing), Ok(()));
        let orphan = converges(&cluster, &running(run)).unwrap_err();
        assert!(orphan.ends_with("runs on n1, but is not assigned there"), "{orphan}");
    }

    #[test]
    fn a_vm_without_a_host_must_have_no_room() {
        let mut cluster = started();
        report(&mut cluster, Phase::Running);
        let run = run_of(&cluster);
        cluster.run(Action::LoseHost { node: NODE });
        let gone = converged(&[&cluster], &BTreeSet::new(), &SingleRun::default());
        assert_eq!(gone, Ok(()), "its only host is lost");
        let back = converges(&cluster, &SingleRun::default());
        assert_eq!(back, Err("n1 is up, but still counts as lost".into()));
        cluster.run(Action::RegainHost { node: NODE });
        assert!(converges(&cluster, &SingleRun::default()).is_err());
        assert!(converges(&cluster, &running(run)).is_err(), "the state does not know yet");
    }

    #[test]
    fn who_is_up_has_to_be_a_member() {
        let cluster = Cluster::new();
        let newcomer = NodeId(9);
        let up = BTreeSet::from([NODE, newcomer]);
        let waits = converged(&[&cluster], &up, &SingleRun::default());
        assert_eq!(waits, Err("n9 is up, but has not been taken in".into()));
        let mut cluster = cluster;
        cluster.state.removed.insert(newcomer);
        assert_eq!(
            converged(&[&cluster], &up, &SingleRun::default()),
            Ok(()),
            "it was removed: it waits in vain"
        );
    }

    #[test]
    fn every_replica_has_to_stand_where_the_leader_stands() {
        let mut leader = Cluster::new();
        leader.create("a", 1);
        let mut behind = Cluster::new();
        behind.id = NodeId(2);
        for cluster in [&mut leader, &mut behind] {
            let host = cluster.state.hosts[&NODE].clone();
            cluster.state.hosts.insert(NodeId(2), host);
        }
        let up = BTreeSet::from([NODE, NodeId(2)]);
        let converges =
            |leader: &Cluster, behind: &Cluster| converged(&[leader, behind], &up, &SingleRun::default());
        assert_eq!(converges(&leader, &behind), Ok(()), "n2 was demoted: its old replica counts no more");
        leader.replicas.push(NodeId(2));
        assert_eq!(converges(&leader, &behind), Err("n2 stands at r2, the leader n1 at r3".into()));
        behind.create("a", 1);
        assert_eq!(converges(&leader, &behind), Ok(()));
    }

    #[test]
    fn a_core_without_a_leader_has_not_converged() {
        let none: [&Cluster; 0] = [];
        assert!(converged(&none, &BTreeSet::new(), &SingleRun::default()).is_err());
    }

    fn told(cluster: &Cluster, runs: &SingleRun) -> String {
        converges(cluster, runs).expect_err("something is missing")
    }

    #[test]
    fn a_deleted_vm_has_to_go() {
        let mut cluster = started();
        let run = run_of(&cluster);
        report(&mut cluster, Phase::Running);
        let delete = |keep_volumes| Write::DeleteVm { name: named("a"), generation: None, keep_volumes };
        cluster.write(3, delete(false), Place::Unneeded);
        let still = told(&cluster, &running(run));
        assert!(
            still.starts_with("VM a: is still being deleted on n1 under e1: running at g2 of g3"),
            "{still}"
        );
        let gone = converged(&[&cluster], &BTreeSet::new(), &SingleRun::default());
        assert!(gone.is_err(), "it is assigned, wherever its host is");
        report(&mut cluster, Phase::Stopped);
        assert_eq!(converges(&cluster, &SingleRun::default()), Ok(()));
    }

    #[test]
    fn a_vm_that_a_host_could_take_has_to_have_one() {
        let mut cluster = Cluster::new();
        cluster.create("a", 1);
        let nothing = SingleRun::default();
        assert_eq!(converges(&cluster, &nothing), Ok(()), "nobody wants it to run");
        cluster.state.vms.get_mut(&named("a")).expect("there").wanted = Wanted::Running;
        assert_eq!(told(&cluster, &nothing), "VM a: has no host although one could take it");
        cluster.write(
            3,
            Write::CordonHost { node: NODE, cordoned: true, reason: String::new() },
            Place::Unneeded,
        );
        assert_eq!(converges(&cluster, &nothing), Ok(()), "no host may take it");
    }

    #[test]
    fn a_phase_on_the_way_is_told_with_its_reason() {
        let mut cluster = started();
        let run = run_of(&cluster);
        report(&mut cluster, Phase::Starting);
        assert_eq!(told(&cluster, &running(run)), "VM a: is starting on n1 ()");
        report(&mut cluster, Phase::Exited);
        assert_eq!(told(&cluster, &running(run)), "VM a: is exited on n1 ()", "it is to be started again");
        cluster.write(3, Write::StopVm { name: named("a"), generation: None }, Place::Unneeded);
        assert_eq!(told(&cluster, &running(run)), "VM a: is not yet confirmed to be stopped on n1");
    }

    #[test]
    fn a_run_on_a_suspended_host_is_no_orphan() {
        let cluster = Cluster::new();
        let mut runs = running(Run { vm: blixard_node::ids::VmId(9), epoch: Epoch(1) });
        assert_eq!(
            told(&cluster, &runs),
            format!(
                "{:?} runs on n1, but is not assigned there",
                Run { vm: blixard_node::ids::VmId(9), epoch: Epoch(1) }
            )
        );
        runs.take(&Truth { at: Time(2), host: NODE, fact: Fact::Frozen }).expect("one run");
        assert_eq!(converges(&cluster, &runs), Ok(()));
    }

    #[test]
    fn the_leader_has_to_have_carried_out_its_log() {
        let mut cluster = Cluster::new();
        cluster.create("a", 1);
        cluster.not_applied = 2;
        assert_eq!(told(&cluster, &SingleRun::default()), "n1 has 2 entries it has not carried out");
    }
}
