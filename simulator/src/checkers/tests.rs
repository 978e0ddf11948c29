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
