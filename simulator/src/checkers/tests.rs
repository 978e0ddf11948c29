//! All checkers together.

use blixard_node::command::Place;
use blixard_node::ids::{Generation, Revision};
use blixard_node::request::{Request, Response, Write};

use super::replay::tests::{Cluster, named};
use super::*;
use crate::history::{Moment, Outcome};

fn applied(cluster: &Cluster) -> Event {
    Event::Applied { revision: cluster.state.revision, term: 1, state_hash: cluster.state.hash() }
}

fn written(sequence: u64, order: u64, revision: Revision, generation: u64) -> Operation {
    use blixard_node::ids::{ClientId, RequestId};
    let id = RequestId { client: ClientId(1), sequence, born: Revision(0) };
    let moment = |order| Moment { at: Time(order), order };
    Operation {
        client: 0,
        request: Request::Write { id, write: Write::StartVm { name: named("a"), generation: None } },
        invoked: moment(order),
        ended: moment(order + 1),
        floor: Revision(0),
        attempts: 1,
        outcome: Outcome::Answered(Ok(Response::Written { revision, generation: Generation(generation) })),
    }
}

#[test]
fn a_good_run_passes_and_is_counted() {
    let mut checkers = Checkers::new(Duration::from_secs(1));
    let mut cluster = Cluster::new();
    checkers.on_open(Time(1), &cluster);
    checkers.on_turn(Time(1), &cluster, &[Event::BecameLeader { term: 1 }, applied(&cluster)]);
    cluster.create("a", 1);
    checkers.on_turn(Time(2), &cluster, &[applied(&cluster)]);
    let mut create = written(1, 1, cluster.state.revision, 1);
    let Request::Write { write, .. } = &mut create.request else { panic!("a write") };
    let spec = cluster.state.vms[&named("a")].spec.clone();
    *write = Write::CreateVm { name: named("a"), spec };
    checkers.on_operation(&create);
    cluster.start("a", 2);
    checkers.on_turn(Time(3), &cluster, &[applied(&cluster)]);
    checkers.on_operation(&written(2, 3, cluster.state.revision, 2));
    assert_eq!(checkers.finish(Time(9), &[&cluster]), Ok(()));
    assert_eq!(checkers.violation(), None);
    let checked = Checked { elections: 1, acknowledged: 2, compared: 2, linearized: 2, ..Checked::default() };
    assert_eq!(checkers.checked(), checked);
}

#[test]
fn a_history_that_nothing_explains_is_told_with_its_place() {
    let mut checkers = Checkers::new(Duration::from_secs(1));
    let mut cluster = Cluster::new();
    checkers.on_turn(Time(1), &cluster, &[applied(&cluster)]);
    cluster.create("a", 1);
    cluster.write(2, Write::StopVm { name: named("a"), generation: None }, Place::Unneeded);
    checkers.on_turn(Time(2), &cluster, &[applied(&cluster)]);
    checkers.on_operation(&written(2, 3, cluster.state.revision, 2));
    assert_eq!(checkers.violation(), None, "the revision was not seen one by one");
    assert_eq!(checkers.finish_histories(Time(9)), Ok(()));
    let violation = checkers.violation().expect("nobody created it");
    assert_eq!(violation.property, "linearizability");
    assert_eq!(
        violation.message,
        "VM a: 0 operations can be explained, then operation 3 (Start of client 0, asked at 0.000000s, \
         answered Done { vm: None, generation: g2 } at 0.000000s) cannot; the VM can be Absent { last: None }; under way are []"
    );
}

#[test]
fn the_first_violation_stays() {
    let mut checkers = Checkers::new(Duration::from_secs(1));
    checkers.on_queue(Time(1), NodeId(1), "inbox", 10, 10);
    assert_eq!(checkers.violation(), None);
    checkers.on_queue(Time(2), NodeId(1), "inbox", 11, 10);
    checkers.on_queue(Time(3), NodeId(2), "inbox", 99, 10);
    let violation = checkers.violation().expect("one");
    assert_eq!((violation.property, violation.at), ("bounded-queues", Time(2)));
    assert_eq!(violation.message, "n1: inbox holds 11, its bound is 10");
}

#[test]
fn two_answers_to_one_request_are_found() {
    use blixard_node::ids::{ClientId, RequestId};
    let mut checkers = Checkers::new(Duration::from_secs(1));
    let id = RequestId { client: ClientId(1), sequence: 1, born: Revision(0) };
    let answer =
        |generation| Ok(Response::Written { revision: Revision(3), generation: Generation(generation) });
    let answers = TwoAnswers { id, first: answer(1), second: answer(2) };
    checkers.on_contradiction(Time(4), &answers);
    let violation = checkers.violation().expect("two answers");
    assert_eq!((violation.property, violation.at), ("exactly-once", Time(4)));
    let (first, second) = (&answers.first, &answers.second);
    assert_eq!(violation.message, format!("{id:?} was answered {first:?} and {second:?}"));
}

/// More operations at once than the search tells apart: no verdict, and no violation either.
#[test]
fn an_undecided_history_is_told_and_is_no_violation() {
    let mut checkers = Checkers::new(Duration::from_secs(1));
    for client in 0..1_100 {
        let mut operation = written(client, 0, Revision(3), 1);
        operation.invoked = Moment { at: Time(1), order: client + 1 };
        operation.ended = Moment { at: Time(2), order: 5_000 + client };
        checkers.histories.entry(named("a")).or_default().push(
            &operation,
            from_operation(&operation).expect("an answer it can get").expect("about one VM").1,
        );
    }
    let told = checkers.finish_histories(Time(9)).unwrap_err();
    assert_eq!(
        told,
        "the history of VM a is undecided: 1100 operations on one object are open at once, at most 1024 are checked"
    );
    assert_eq!(checkers.violation(), None);
}

/// What the whole of the checkers is fed reaches each of them: one breach of each kind.
#[test]
fn every_feed_reaches_its_checker() {
    use blixard_node::hypervisor::Run;
    use blixard_node::ids::{Epoch, VmId};
    let property = |feed: &dyn Fn(&mut Checkers)| {
        let mut checkers = Checkers::new(Duration(10));
        checkers.on_host(NodeId(1), Resources { vcpus: 1, memory_mib: 64 });
        feed(&mut checkers);
        checkers.violation().map(|violation| violation.property)
    };
    let run = |vm, epoch| Run { vm: VmId(vm), epoch: Epoch(epoch) };
    let truth = |host, fact| Truth { at: Time(1), host: NodeId(host), fact };
    let started = |host, run, vcpus| {
        let resources = Resources { vcpus, memory_mib: 1 };
        truth(host, Fact::RunStarted { run, resources, local: Time(1), deadline: Time(9) })
    };
    let fed = |truths: &[Truth]| property(&|checkers| checkers.on_truth(truths));
    assert_eq!(fed(&[started(1, run(1, 1), 1)]), None);
    assert_eq!(fed(&[started(1, run(1, 1), 1), started(2, run(1, 2), 1)]), Some("single-run"));
    assert_eq!(fed(&[started(1, run(1, 1), 2)]), Some("capacity"));
    assert_eq!(fed(&[truth(1, Fact::DeadlineRaised { deadline: Time(1) })]), Some("leases"));
    assert_eq!(fed(&[truth(1, Fact::Purged { run: run(1, 1) })]), Some("volumes"));
    let executes = |artifact| truth(1, Fact::Executes { run: run(1, 1), artifact });
    assert_eq!(fed(&[executes(1), executes(2)]), Some("artifacts"));
    let granted = |checkers: &mut Checkers| {
        checkers.on_lease_granted(NodeId(1), Time(0), Duration(1));
        checkers.on_truth(&[truth(1, Fact::DeadlineRaised { deadline: Time(1) })]);
    };
    assert_eq!(property(&granted), None);
    let (one, mut two) = (Cluster::new(), Cluster::new());
    two.id = NodeId(2);
    let elected = |checkers: &mut Checkers| {
        for node in [&one, &two] {
            checkers.on_turn(Time(1), node, &[Event::BecameLeader { term: 7 }]);
        }
    };
    assert_eq!(property(&elected), Some("election-safety"));
    let restored = |checkers: &mut Checkers| {
        checkers.on_turn(Time(1), &one, &[applied(&one)]);
        let (revision, state_hash) = (one.state.revision, one.state.hash() ^ 1);
        checkers.on_turn(Time(1), &two, &[Event::Restored { revision, state_hash }]);
    };
    assert_eq!(property(&restored), Some("state-hash"));
    let mut other = Cluster::new();
    other.create("b", 1);
    let mut here = Cluster::new();
    here.create("a", 1);
    other.id = NodeId(2);
    let logs = |checkers: &mut Checkers| {
        checkers.on_open(Time(1), &here);
        checkers.on_open(Time(1), &other);
    };
    assert_eq!(property(&logs), Some("log-matching"));
    let past = |checkers: &mut Checkers| {
        checkers.on_turn(Time(1), &here, &[applied(&here)]);
        checkers.on_operation(&written(1, 1, Revision(9), 1));
    };
    assert_eq!(property(&past), Some("durability"));
    let lost = |checkers: &mut Checkers| {
        checkers.on_turn(Time(1), &here, &[applied(&here)]);
        checkers.durability.ended(&written(1, 1, Revision(9), 1));
        let _ = checkers.finish(Time(1), &[&here]);
    };
    assert_eq!(property(&lost), Some("durability"));
}
