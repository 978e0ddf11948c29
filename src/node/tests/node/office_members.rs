//! What the leader does of its own accord: VMs that need a host, hosts that leave, voters.

use blixard_node::ids::NodeId;
use blixard_node::probes::Probe;
use blixard_node::request::Write;
use blixard_node::spec::Wanted;
use blixard_node::stored::Membership;

use crate::cluster::{name, spec};
use crate::office::{BASE, Disk, Leader, SECOND, nodes};

#[test]
fn vms_without_a_host_are_assigned_once() {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.vm("web", None).wanted = Wanted::Running;
    let mut leader = disk.lead();
    assert_eq!(leader.count("assign"), 1);
    assert!(leader.state().vms[&name("web")].assigned.is_some());
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.vm("web", None).wanted = Wanted::Running;
    let mut elected = disk.elect();
    elected.copied = BASE + 1;
    elected.run(SECOND * 2);
    assert_eq!(elected.count("assign"), 1, "one decision is under way");
    elected.thaw();
    elected.run(SECOND);
    assert_eq!(elected.count("assign"), 1);
    leader.run(SECOND);
    assert_eq!(leader.count("assign"), 1);
}

fn leaving(membership: Membership) -> Leader {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.membership = membership;
    disk.host(4).leaving = true;
    let mut leader = disk.lead();
    leader.run(SECOND * 3);
    leader
}

#[test]
fn a_leaving_host_is_dropped_when_it_is_no_member_any_more() {
    let worker = leaving(Membership { voters: nodes(&[1, 2, 3]), ..Membership::default() });
    assert_eq!(worker.log(), ["drop n4"]);
    assert!(worker.state().removed.contains(&NodeId(4)));
    let voter = leaving(Membership { voters: nodes(&[1, 2, 4]), ..Membership::default() });
    assert_eq!(voter.log(), ["learner 3", "voter 3, out 4", "leave joint", "drop n4"]);
    assert!(voter.has(Probe::VotersSwapped) && !voter.has(Probe::ProposalDropped));
    let learner =
        leaving(Membership { voters: nodes(&[1, 2, 3]), learners: nodes(&[4]), ..Membership::default() });
    assert_eq!(learner.log(), ["out 4", "drop n4", "leave joint"]);
    let outgoing =
        Membership { voters: nodes(&[1, 2, 3]), voters_outgoing: nodes(&[1, 2, 4]), ..Membership::default() };
    assert_eq!(leaving(outgoing.clone()).log(), ["leave joint", "drop n4"]);
    let demoted = Membership { learners_next: nodes(&[4]), ..outgoing };
    assert_eq!(leaving(demoted).log(), ["leave joint", "out 4", "drop n4", "leave joint"]);
}

#[test]
fn a_leaving_host_is_dropped_once() {
    let mut disk = Disk::of(&[1, 2, 3], 4);
    disk.host(4).leaving = true;
    let mut leader = disk.elect();
    leader.copied = BASE + 1;
    leader.run(SECOND * 2);
    assert_eq!(leader.log(), ["drop n4"]);
    assert!(leader.state().hosts.contains_key(&NodeId(4)));
    leader.thaw();
    assert!(!leader.state().hosts.contains_key(&NodeId(4)));
}

#[test]
fn newcomers_learn_before_they_vote() {
    let mut disk = Disk::of(&[1], 3);
    disk.settings.voters_max = 3;
    let leader = disk.lead();
    assert_eq!(leader.log(), ["learner 2", "learner 3"]);
    assert!(!leader.has(Probe::VotersSwapped), "nobody went");
}

#[test]
fn a_learner_votes_when_its_log_is_nearly_the_leaders() {
    let mut disk = Disk::of(&[1], 3);
    disk.membership.learners = nodes(&[2, 3]);
    disk.settings.voters_max = 3;
    disk.mute = vec![2, 3];
    let mut leader = disk.lead();
    for vm in 0..70 {
        let write = leader.write(Write::CreateVm { name: name(&format!("vm{vm}")), spec: spec() });
        let reply = leader.ask(write);
        assert!(matches!(reply, Some(Ok(_))), "vm{vm}: the only voter needs nobody: {reply:?}");
    }
    leader.run(SECOND * 2);
    assert_eq!(leader.count("voter 2, voter 3"), 0, "nobody knows what they have");
    let last = leader.node.consensus().last_index;
    leader.copied = last - 65;
    leader.mute.clear();
    leader.run(SECOND * 2);
    assert_eq!(leader.count("voter 2, voter 3"), 0);
    leader.copy_up_to(last - 64);
    leader.run(SECOND * 2);
    assert_eq!(leader.count("voter 2, voter 3"), 1);
    assert!(!leader.has(Probe::VotersSwapped), "nobody went");
}

#[test]
fn a_leaving_leader_hands_over_to_a_voter_that_it_hears() {
    let mut leader = Disk::of(&[1, 2, 3], 4).lead();
    leader.mute.insert(2);
    leader.run(SECOND * 3);
    let write = leader.write(Write::RemoveHost { node: NodeId(1) });
    assert!(leader.ask(write).is_some());
    leader.run(SECOND);
    assert!(leader.has(Probe::LeaderLeaves));
    assert_eq!(leader.successors.first(), Some(&NodeId(3)));
    assert!(!leader.successors.contains(&NodeId(2)));
}
