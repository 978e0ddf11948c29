//! What hosts say of their VMs, what becomes of a lost host's, and which of it the state believes.

use blixard_node::command::{Action, Placement};
use blixard_node::hypervisor::{ARTIFACT_LEN_MAX, Run, VmReport};
use blixard_node::ids::{Epoch, Generation, NodeId, VmId};
use blixard_node::request::Write;
use blixard_node::spec::{FailoverPolicy, Phase, Resources, VmSpec};
use blixard_node::state::{Host, State, Vm};

use crate::bare::{Bare, with_volume};
use crate::cluster::{name, spec};

/// A VM that runs on n1 of two, and that says so.
fn running() -> Bare {
    let mut bare = Bare::new(2);
    bare.run("web", (*spec()).clone(), 1);
    bare.report(1, bare.told("web", Phase::Running));
    assert_eq!(bare.stands("web"), (Phase::Running, ""));
    bare
}

fn named(artifact: &str) -> Option<String> {
    Some(artifact.to_owned())
}

/// A report that nobody has news by changes nothing.
fn ignored(bare: &mut Bare, node: u64, report: VmReport) {
    let before = bare.state.hash();
    assert!(!bare.vm("web").is_told_news(NodeId(node), &report), "{report:?}");
    let applied = bare.report(node, report.clone());
    assert_eq!((bare.state.hash(), applied.touched), (before, vec![]), "{report:?}");
}

/// A report that is news, and what it then says.
fn taken(bare: &mut Bare, node: u64, report: VmReport) -> Vec<NodeId> {
    let before = bare.state.hash();
    assert!(bare.vm("web").is_told_news(NodeId(node), &report), "{report:?}");
    let touched = bare.report(node, report.clone()).touched;
    assert_ne!(bare.state.hash(), before, "{report:?}");
    touched
}

#[test]
fn a_host_is_believed_about_the_run_that_it_has() {
    let mut bare = running();
    let told = bare.told("web", Phase::Failed);
    ignored(&mut bare, 2, told.clone());
    ignored(&mut bare, 9, told.clone());
    ignored(&mut bare, 1, VmReport { run: Run { epoch: Epoch(0), ..told.run }, ..told.clone() });
    ignored(&mut bare, 1, VmReport { run: Run { epoch: Epoch(2), ..told.run }, ..told.clone() });
    ignored(&mut bare, 1, VmReport { generation: Generation(told.generation.0 + 1), ..told.clone() });
    let running = bare.told("web", Phase::Running);
    ignored(&mut bare, 1, running);
    assert_eq!(taken(&mut bare, 1, told), []);
    assert_eq!(bare.stands("web"), (Phase::Failed, ""));
    let explained = VmReport { reason: "exit 1".into(), ..bare.told("web", Phase::Failed) };
    assert_eq!(taken(&mut bare, 1, explained), []);
    assert_eq!(bare.stands("web"), (Phase::Failed, "exit 1"));
}

/// A report about a VM of the same name that was deleted since is about another one.
#[test]
fn a_report_names_the_vm_it_is_of() {
    let mut bare = running();
    let told = bare.told("web", Phase::Failed);
    let before = bare.state.hash();
    bare.report(1, VmReport { run: Run { vm: VmId(told.run.vm.0 + 1), ..told.run }, ..told });
    assert_eq!(bare.state.hash(), before);
}

#[test]
fn each_part_of_a_report_is_news_by_itself() {
    let mut bare = running();
    let told = bare.told("web", Phase::Running);
    assert_eq!(taken(&mut bare, 1, VmReport { restarts: 3, ..told.clone() }), []);
    assert_eq!(bare.vm("web").restarts, 3);
    let before = bare.vm("web").transitions.len();
    let told = VmReport { restarts: 3, ..told };
    assert_eq!(taken(&mut bare, 1, VmReport { artifact: named("built"), ..told.clone() }), [NodeId(1)]);
    assert_eq!(bare.vm("web").transitions.len(), before, "it stands as it did");
    ignored(&mut bare, 1, VmReport { artifact: named("other"), ..told.clone() });
    bare.stop("web");
    ignored(&mut bare, 1, VmReport { artifact: None, ..told.clone() });
    let seen = VmReport { generation: bare.vm("web").generation, ..told };
    assert_eq!(taken(&mut bare, 1, seen.clone()), []);
    assert_eq!(bare.vm("web").observed_generation, seen.generation);
}

#[test]
fn what_is_built_first_is_what_all_hosts_run() {
    let mut bare = running();
    let told = |bare: &Bare, artifact: &str| VmReport {
        artifact: named(artifact),
        ..bare.told("web", Phase::Running)
    };
    // Before the newest start or stop: it may be of an older spec.
    bare.stop("web");
    let old = VmReport { generation: Generation(bare.vm("web").generation.0 - 1), ..told(&bare, "old") };
    assert_eq!(bare.report(1, old).touched, []);
    assert_eq!(bare.vm("web").artifact, None);
    let long = told(&bare, &"x".repeat(ARTIFACT_LEN_MAX + 1));
    assert_eq!(bare.report(1, long).touched, []);
    assert_eq!(bare.vm("web").artifact, None, "too long to be kept");
    let longest = "x".repeat(ARTIFACT_LEN_MAX);
    assert_eq!(bare.report(1, told(&bare, &longest)).touched, [NodeId(1)], "it hears what to run");
    assert_eq!(bare.report(1, told(&bare, "other")).touched, []);
    assert_eq!(bare.vm("web").artifact, Some(longest));
}

#[test]
fn a_host_is_freed_by_a_stop_that_is_the_newest_that_was_asked_for() {
    let mut bare = running();
    let first = bare.stop("web");
    bare.start("web", 1);
    bare.stop("web");
    let old = VmReport { generation: first, ..bare.told("web", Phase::Stopped) };
    assert_eq!(bare.report(1, old).touched, []);
    assert!(bare.vm("web").assigned.is_some(), "a start may have come in between");
    let stopping = bare.told("web", Phase::Stopping);
    assert_eq!(bare.report(1, stopping).touched, []);
    assert!(bare.vm("web").assigned.is_some());
    let used = bare.state.hosts[&NodeId(1)].used;
    assert_eq!(used, spec().resources);
    let stopped = bare.told("web", Phase::Stopped);
    assert_eq!(bare.report(1, stopped).touched, [NodeId(1)]);
    assert_eq!(bare.vm("web").assigned, None);
    assert_eq!(bare.state.hosts[&NodeId(1)].used, Resources::default());
    assert_eq!(bare.vm("web").last_host, Some(NodeId(1)));
}

#[test]
fn a_vm_that_is_wanted_is_not_freed_by_a_stop_that_nobody_asked_for() {
    let mut bare = running();
    assert_eq!(bare.report(1, bare.told("web", Phase::Stopped)).touched, []);
    assert!(bare.vm("web").assigned.is_some());
    assert_eq!(bare.stands("web"), (Phase::Stopped, ""));
}

#[test]
fn a_lost_host_is_not_believed_until_it_is_taken_back() {
    let mut bare = running();
    assert_eq!(bare.lose(1).touched, [NodeId(1)]);
    assert_eq!(bare.stands("web"), (Phase::Lost, "n1 is lost"));
    assert!(bare.state.has_unplaced() && bare.state.assignments(NodeId(1)).is_empty());
    let told = bare.told("web", Phase::Running);
    assert_eq!(bare.report(1, told.clone()).touched, []);
    assert_eq!(bare.stands("web"), (Phase::Lost, "n1 is lost"));
    assert_eq!(bare.lose(1).touched, [], "it is lost already");
    assert_eq!(bare.lose(9).touched, []);
    assert_eq!(bare.regain(1).touched, [NodeId(1)]);
    assert!(!bare.state.has_unplaced());
    bare.report(1, told);
    assert_eq!(bare.stands("web"), (Phase::Running, ""));
    assert_eq!(bare.regain(1).touched, [], "it is no more lost");
}

#[test]
fn what_was_to_stop_on_a_lost_host_has_stopped() {
    let mut bare = Bare::new(2);
    bare.run("web", (*spec()).clone(), 1);
    bare.run("stays", with_volume(), 1);
    bare.stop("web");
    bare.lose(1);
    let vm = bare.vm("web");
    assert_eq!((vm.assigned, vm.observed_generation), (None, vm.generation));
    assert_eq!(bare.stands("web"), (Phase::Stopped, ""));
    assert_eq!(bare.stands("stays"), (Phase::Lost, "waiting for n1"), "its volume is there");
    assert_eq!(bare.state.unplaced().count(), 0);
}

/// Deleted VMs that have run on two hosts: what the loss of one of them means for each.
#[test]
fn a_lost_host_has_nothing_left_to_remove_but_local_volumes() {
    let mut bare = Bare::new(2);
    bare.run("web", (*spec()).clone(), 1);
    bare.stop_and_confirm("web");
    bare.start("web", 2);
    bare.delete("web", false);
    bare.run("db", with_volume(), 1);
    bare.delete("db", false);
    bare.lose(1);
    assert_eq!(bare.vm("web").purging, [NodeId(2)].into());
    assert_eq!(bare.vm("web").assigned, Some((NodeId(2), Epoch(2))), "another host's run goes on");
    assert_eq!(bare.vm("db").purging, [NodeId(1)].into());
    assert_eq!(bare.vm("db").assigned, None);
    assert_eq!(bare.stands("db"), (Phase::Lost, "waiting for n1 to remove its volumes"));
    bare.regain(1);
    assert_eq!(bare.stands("db"), (Phase::Stopping, "its volumes are being removed"));
    bare.report(1, bare.told("db", Phase::Stopped));
    assert!(!bare.is_listed("db"));
    bare.lose(2);
    assert!(!bare.is_listed("web"));
}

/// One whose volumes are to be removed by n1 and n2 stays with both, while nothing runs.
fn purging() -> Bare {
    let mut bare = Bare::new(2);
    bare.run("web", (*spec()).clone(), 1);
    bare.stop_and_confirm("web");
    bare.start("web", 2);
    bare.stop_and_confirm("web");
    bare.delete("web", false);
    assert_eq!(bare.stands("web"), (Phase::Stopping, "its volumes are being removed"));
    bare
}

#[test]
fn a_host_that_cannot_remove_volumes_says_why_and_the_others_do_not_shout_it_down() {
    let mut bare = purging();
    let complaint =
        |bare: &Bare, reason: &str| VmReport { reason: reason.into(), ..bare.told("web", Phase::Stopping) };
    let silent = complaint(&bare, "");
    ignored(&mut bare, 1, silent);
    let busy = complaint(&bare, "disk busy");
    assert_eq!(taken(&mut bare, 1, busy.clone()), []);
    assert_eq!(bare.stands("web"), (Phase::Stopping, "n1: disk busy"));
    ignored(&mut bare, 1, busy.clone());
    ignored(&mut bare, 2, busy);
    let other = complaint(&bare, "disk gone");
    taken(&mut bare, 1, other);
    assert_eq!(bare.stands("web"), (Phase::Stopping, "n1: disk gone"));
    let stopped = bare.told("web", Phase::Stopped);
    assert_eq!(taken(&mut bare, 1, stopped.clone()), [NodeId(1)]);
    assert_eq!(bare.stands("web"), (Phase::Stopping, "its volumes are being removed"));
    ignored(&mut bare, 1, stopped.clone());
    let older = VmReport { generation: Generation(stopped.generation.0 - 1), ..stopped.clone() };
    ignored(&mut bare, 2, older);
    bare.report(2, stopped);
    assert!(!bare.is_listed("web"));
}

/// While it runs on one host, another's trouble with its volumes is not what it stands for.
#[test]
fn a_host_complains_of_volumes_when_nothing_runs_any_more() {
    let mut bare = Bare::new(2);
    bare.run("web", (*spec()).clone(), 1);
    bare.stop_and_confirm("web");
    bare.start("web", 2);
    bare.delete("web", false);
    let busy = VmReport { reason: "disk busy".into(), ..bare.told("web", Phase::Stopping) };
    ignored(&mut bare, 1, busy);
}

#[test]
fn a_vm_is_assigned_as_it_was_when_that_was_decided() {
    let mut bare = running();
    let decided = |bare: &Bare| {
        let vm = bare.vm("web");
        Placement { name: name("web"), vm: vm.id, epoch: vm.epoch, to: NodeId(2) }
    };
    let assign = |bare: &mut Bare, placement: Placement| {
        let before = bare.vm("web").assigned;
        let touched = bare.act(Action::Assign { moves: vec![placement] }).touched;
        assert_eq!(touched.is_empty(), bare.vm("web").assigned == before);
        touched
    };
    let placement = decided(&bare);
    assert_eq!(assign(&mut bare, placement.clone()), [], "it has a host");
    bare.lose(1);
    assert_eq!(
        assign(&mut bare, Placement { vm: VmId(1), ..placement.clone() }),
        [],
        "another VM of that name"
    );
    assert_eq!(assign(&mut bare, Placement { epoch: Epoch(0), ..placement.clone() }), [], "assigned since");
    assert_eq!(assign(&mut bare, Placement { to: NodeId(9), ..placement.clone() }), [], "no such host");
    assert_eq!(assign(&mut bare, Placement { to: NodeId(1), ..placement.clone() }), [], "a lost host");
    assert_eq!(assign(&mut bare, placement.clone()), [NodeId(1), NodeId(2)]);
    assert_eq!(bare.vm("web").assigned, Some((NodeId(2), Epoch(2))));
    assert_eq!(bare.stands("web"), (Phase::Pending, "assigned to n2"));
    assert_eq!(assign(&mut bare, placement), [], "once");
    let free: Vec<_> = [1, 2].map(|node| bare.state.hosts[&NodeId(node)].free().vcpus).into();
    assert_eq!(free, [4, 3], "its old host has the room back");
}

#[test]
fn restarts_count_from_each_assignment_anew() {
    let mut bare = running();
    bare.report(1, VmReport { restarts: 5, ..bare.told("web", Phase::Running) });
    bare.lose(1);
    bare.assign("web", 2);
    assert_eq!(bare.vm("web").restarts, 0);
}

#[test]
fn the_newest_sixteen_changes_are_kept() {
    let mut bare = running();
    for number in 1..=20 {
        let reason = format!("exit {number}");
        bare.report(1, VmReport { reason, ..bare.told("web", Phase::Failed) });
    }
    let kept: Vec<_> = bare.vm("web").transitions.iter().map(|change| change.reason.clone()).collect();
    assert_eq!(kept, (5..=20).map(|number| format!("exit {number}")).collect::<Vec<_>>());
}

#[test]
fn a_vm_may_leave_a_lost_host_if_its_policy_and_its_volumes_let_it() {
    let vm = |spec: VmSpec| Vm::new(VmId(1), name("web"), std::sync::Arc::new(spec), Default::default());
    let waits = VmSpec { failover: FailoverPolicy::Wait, ..(*spec()).clone() };
    assert!(vm((*spec()).clone()).may_move());
    assert!(!vm(waits).may_move() && !vm(with_volume()).may_move());
}

/// Leaves the host out of the account that the VM takes of it.
fn broken(change: impl Fn(&mut Vm, &mut Host)) -> State {
    let mut state = running().state;
    change(state.vms.get_mut(&name("web")).unwrap(), state.hosts.get_mut(&NodeId(1)).unwrap());
    state
}

/// The simulator asserts after every command what must hold of every state. Here nothing holds.
#[test]
fn a_state_that_contradicts_itself_is_noticed() {
    let panics = |state: State| std::panic::catch_unwind(|| state.check()).is_err();
    assert!(!panics(broken(|_, _| {})));
    assert!(panics(broken(|vm, _| vm.id = VmId(1_000))));
    assert!(panics(broken(|vm, _| vm.observed_generation.0 += 1)));
    assert!(panics(broken(|vm, _| vm.epoch.0 += 1)));
    assert!(panics(broken(|vm, _| vm.last_host = None)));
    assert!(panics(broken(|vm, _| vm.hosts.clear())));
    assert!(panics(broken(|vm, _| vm.purging.extend([NodeId(1)]))));
    assert!(panics(broken(|vm, _| vm.reason.push('x'))), "its hash is not up to date");
    assert!(panics(broken(|_, host| host.used.vcpus += 1)));
    assert!(panics(broken(|_, host| host.spec.capacity.vcpus = 0)));
    assert!(panics(broken(|_, host| host.cordoned = true)), "its hash is not up to date");
    assert!(panics(broken(|_, host| host.vms.clear())));
    assert!(panics(broken(|vm, host| drop(host.vms.insert(VmId(1), vm.name.clone())))));
    assert!(panics(broken(|vm, host| drop(host.purging.insert(vm.id, vm.name.clone())))));
    assert!(panics(broken(|vm, host| drop(host.ports.insert((Default::default(), 80), vm.name.clone())))));
    let mut above = running().state;
    above.level = blixard_node::level::Level(2);
    assert!(panics(above));
    let mut removed = running().state;
    removed.removed.extend([NodeId(2)]);
    assert!(panics(removed));
}

/// Cordons go with the host; a write that names it says which.
#[test]
fn nothing_new_goes_to_a_host_that_is_lost_cordoned_or_leaving() {
    let mut bare = Bare::new(3);
    bare.lose(1);
    bare.write(Write::CordonHost { node: NodeId(2), cordoned: true, reason: String::new() }).unwrap();
    bare.write(Write::RemoveHost { node: NodeId(3) }).unwrap();
    assert!(bare.state.hosts.values().all(|host| !host.is_open()));
    bare.regain(1);
    assert!(bare.state.hosts[&NodeId(1)].is_open());
}
