//! Answers against revisions: an answer shows exactly the state of the revision it names, a write is where it says it
//! is, and revisions respect real time: what is asked after an answer sees that answer's revision or a later one.

use blixard_node::ids::Revision;
use blixard_node::request::{Consistency, Request, Response, VmView};

use super::Breach;
use super::replay::{Facts, Replay};
use crate::history::{Operation, Outcome, revision_of};

/// Checks one operation that has ended. Whether anything could be compared.
pub(super) fn check(operation: &Operation, replay: &Replay) -> Result<bool, Breach> {
    let Outcome::Answered(reply) = &operation.outcome else { return Ok(false) };
    let Some(revision) = revision_of(reply) else { return Ok(false) };
    let stale = matches!(operation.request, Request::Read { consistency: Consistency::Stale, .. });
    if revision < operation.floor && !stale {
        let message = format!(
            "client {} was answered as of {revision} although {} had been told before it asked {:?}",
            operation.client, operation.floor, operation.request
        );
        return Err(about(operation, "real-time-order", message).index(operation.floor.0));
    }
    let newest = replay.carried_out_by_any();
    if newest.is_none_or(|newest| revision > newest) {
        let newest = newest.unwrap_or_default();
        let message = format!(
            "client {} was told of {revision}, but no node has carried out more than {newest}",
            operation.client
        );
        return Err(about(operation, "durability", message).index(revision.0));
    }
    if !replay.knows(revision) {
        return Ok(false);
    }
    match reply {
        Ok(Response::Written { .. }) => written(operation, revision, replay),
        Ok(Response::Vm { vm, .. }) => shown(operation, revision, replay, std::slice::from_ref(&**vm)),
        Ok(Response::Vms { vms, .. }) => {
            shown(operation, revision, replay, vms)?;
            let (told, are) = (vms.len(), replay.vms_at(revision).count());
            if told == are {
                return Ok(true);
            }
            let message =
                format!("client {} was shown {told} VMs as of {revision}, there are {are}", operation.client);
            Err(about(operation, "reads-match-revisions", message).index(revision.0))
        }
        _ => Ok(true),
    }
}

fn about(operation: &Operation, property: &'static str, message: String) -> Breach {
    Breach::new(property, message).operations([operation.invoked.order])
}

fn written(operation: &Operation, revision: Revision, replay: &Replay) -> Result<bool, Breach> {
    let Request::Write { id, .. } = &operation.request else { return Ok(false) };
    let executed = replay.executed_at(*id);
    if executed == Some(revision) {
        return Ok(true);
    }
    let message = match executed {
        None if !replay.carried_out(revision) => return Ok(false),
        Some(executed) => format!("{id:?} was acknowledged at {revision}, but took effect at {executed}"),
        None => format!("{id:?} was acknowledged at {revision}, but is not there"),
    };
    Err(about(operation, "durability", message).index(revision.0))
}

fn shown(
    operation: &Operation,
    revision: Revision,
    replay: &Replay,
    views: &[VmView],
) -> Result<bool, Breach> {
    for view in views {
        let shown = Facts::shown(view);
        let is = replay.vm_at(&view.name, revision);
        if is != Some(shown) {
            let message = format!(
                "client {} was shown {} as of {revision} as {shown:?}, it is {is:?}",
                operation.client, view.name
            );
            return Err(about(operation, "reads-match-revisions", message).index(revision.0));
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use blixard_node::ids::{ClientId, Generation, RequestId};
    use blixard_node::request::{Read, Reply, Write};
    use blixard_node::spec::VmName;
    use blixard_node::time::Time;

    use super::super::replay::tests::Cluster;
    use super::*;
    use crate::history::Moment;

    fn operation(request: Request, floor: u64, reply: Reply) -> Operation {
        let moment = |order| Moment { at: Time(order), order };
        Operation {
            client: 0,
            request,
            invoked: moment(1),
            ended: moment(2),
            floor: Revision(floor),
            attempts: 1,
            outcome: Outcome::Answered(reply),
        }
    }

    fn list(cluster: &Cluster, revision: u64, floor: u64) -> Operation {
        let vms = cluster.state.vms.values().map(|vm| vm.view()).collect();
        let request = Request::Read { read: Read::ListVms, consistency: Consistency::Linearizable };
        operation(request, floor, Ok(Response::Vms { revision: Revision(revision), vms }))
    }

    fn ack(sequence: u64, revision: u64) -> Operation {
        let id = RequestId { client: ClientId(1), sequence, born: Revision(0) };
        let name = VmName::new("a").expect("a name");
        let request = Request::Write { id, write: Write::StopVm { name, generation: None } };
        let (revision, generation) = (Revision(revision), Generation(1));
        operation(request, 0, Ok(Response::Written { revision, generation }))
    }

    /// A VM `a` from revision 3 on and a VM `b` from revision 4 on.
    fn cluster() -> (Cluster, Replay) {
        let mut cluster = Cluster::new();
        let mut replay = Replay::default();
        cluster.feed(&mut replay).expect("holds");
        cluster.create("a", 1);
        cluster.feed(&mut replay).expect("holds");
        cluster.create("b", 2);
        cluster.feed(&mut replay).expect("holds");
        (cluster, replay)
    }

    #[test]
    fn the_state_of_the_revision_passes() {
        let (cluster, replay) = cluster();
        let newest = cluster.state.revision.0;
        assert_eq!(check(&list(&cluster, newest, newest), &replay), Ok(true));
        let get = Request::Read {
            read: Read::GetVm { name: VmName::new("a").expect("a name") },
            consistency: Consistency::Linearizable,
        };
        let vm = Box::new(cluster.state.vms.values().next().expect("a VM").view());
        let revision = Revision(newest - 1);
        assert_eq!(check(&operation(get, 0, Ok(Response::Vm { revision, vm })), &replay), Ok(true));
    }

    #[test]
    fn another_state_is_found() {
        let (cluster, replay) = cluster();
        let newest = cluster.state.revision.0;
        let property = |operation: &Operation| check(operation, &replay).unwrap_err().property;
        assert_eq!(property(&list(&cluster, newest - 1, 0)), "reads-match-revisions", "b is from the future");
        let mut short = list(&cluster, newest, 0);
        let Outcome::Answered(Ok(Response::Vms { vms, .. })) = &mut short.outcome else { panic!("a list") };
        vms.pop();
        assert_eq!(property(&short), "reads-match-revisions");
        let mut other = list(&cluster, newest, 0);
        let Outcome::Answered(Ok(Response::Vms { vms, .. })) = &mut other.outcome else { panic!("a list") };
        vms[0].generation = Generation(9);
        assert_eq!(property(&other), "reads-match-revisions");
    }

    #[test]
    fn the_past_is_found() {
        let (cluster, replay) = cluster();
        let newest = cluster.state.revision.0;
        let breach = check(&list(&cluster, newest, newest + 1), &replay).unwrap_err();
        assert_eq!(breach.property, "real-time-order");
        let mut stale = list(&cluster, newest, newest + 1);
        stale.request = Request::Read { read: Read::ListVms, consistency: Consistency::Stale };
        assert_eq!(check(&stale, &replay), Ok(true));
    }

    #[test]
    fn an_acknowledged_write_is_where_it_is_said_to_be() {
        let (cluster, replay) = cluster();
        let newest = cluster.state.revision.0;
        assert_eq!(check(&ack(2, newest), &replay), Ok(true));
        for (sequence, revision) in [(2, newest - 1), (3, newest), (2, newest + 1)] {
            assert_eq!(check(&ack(sequence, revision), &replay).unwrap_err().property, "durability");
        }
    }

    fn message(operation: &Operation, replay: &Replay) -> String {
        check(operation, replay).unwrap_err().message
    }

    #[test]
    fn messages_name_the_client_the_revision_and_the_values() {
        let (cluster, replay) = cluster();
        let newest = cluster.state.revision.0;
        let early = list(&cluster, newest, newest + 1);
        assert_eq!(
            message(&early, &replay),
            format!(
                "client 0 was answered as of r{newest} although r{} had been told before it asked {:?}",
                newest + 1,
                early.request
            )
        );
        let told = format!("client 0 was told of r9, but no node has carried out more than r{newest}");
        assert_eq!(message(&list(&cluster, 9, 0), &replay), told);
        let mut short = list(&cluster, newest, 0);
        let Outcome::Answered(Ok(Response::Vms { vms, .. })) = &mut short.outcome else { panic!("a list") };
        vms.pop();
        let told = format!("client 0 was shown 1 VMs as of r{newest}, there are 2");
        assert_eq!(message(&short, &replay), told);
        let Outcome::Answered(Ok(Response::Vms { vms, .. })) = &mut short.outcome else { panic!("a list") };
        vms[0].generation = Generation(9);
        let shown = message(&short, &replay);
        assert!(shown.starts_with(&format!("client 0 was shown a as of r{newest} as Facts")), "{shown}");
        assert!(shown.contains("generation: g9") && shown.contains("it is Some"), "{shown}");
    }

    #[test]
    fn misplaced_acknowledgements_are_told_with_both_places() {
        let (cluster, replay) = cluster();
        let newest = cluster.state.revision.0;
        let elsewhere = message(&ack(2, newest - 1), &replay);
        assert!(
            elsewhere.ends_with(&format!("acknowledged at r{}, but took effect at r{newest}", newest - 1))
        );
        let nowhere = message(&ack(3, newest), &replay);
        assert!(nowhere.ends_with(&format!("acknowledged at r{newest}, but is not there")), "{nowhere}");
    }

    #[test]
    fn what_a_process_opens_on_was_carried_out_though_nobody_saw_it() {
        let (mut cluster, mut replay) = cluster();
        let seen = cluster.state.revision.0;
        cluster.create("c", 7);
        let told = list(&cluster, seen + 1, 0);
        assert_eq!(check(&told, &replay).unwrap_err().property, "durability");
        replay.opened(&cluster);
        assert_eq!(check(&told, &replay), Ok(false), "to be compared when another carries it out");
        assert_eq!(check(&list(&cluster, seen + 2, 0), &replay).unwrap_err().property, "durability");
        cluster.feed(&mut replay).expect("holds");
        assert_eq!(check(&told, &replay), Ok(true));
    }

    #[test]
    fn what_was_not_seen_is_not_compared() {
        let mut cluster = Cluster::new();
        let mut replay = Replay::default();
        cluster.feed(&mut replay).expect("holds");
        cluster.create("a", 1);
        cluster.create("b", 2);
        let newest = cluster.state.revision;
        replay.applied(&cluster, newest, cluster.state.hash()).expect("holds");
        assert_eq!(
            check(&list(&cluster, newest.0 - 1, 0), &replay),
            Ok(false),
            "a state between two snapshots"
        );
        assert_eq!(check(&ack(7, newest.0), &replay), Ok(false), "the entry that led to it was not seen");
        assert_eq!(check(&list(&cluster, newest.0, 0), &replay), Ok(true));
        let mut unknown = list(&cluster, newest.0 + 9, 0);
        unknown.outcome = Outcome::Unknown;
        assert_eq!(check(&unknown, &replay), Ok(false));
    }
}
