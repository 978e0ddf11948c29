//! Who votes: an odd number of members, grown and shrunk by the leader. Pure: a look at the cluster in, one change out.

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use crate::ids::NodeId;
use crate::stored::Membership;

/// A member as the plan sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    /// Not given up.
    pub(crate) healthy: bool,
    /// On its way out.
    pub(crate) leaving: bool,
    /// Its log is nearly the leader's.
    pub(crate) caught_up: bool,
    /// The leader has heard its replica within the last election timeout, or is it.
    pub(crate) heard: bool,
}

/// The next step towards the wished voters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Propose this change.
    Change(ConfChangeV2),
    /// Hand leadership to this voter first: the leader itself is to vote no more.
    HandOver(NodeId),
}

/// What to do next, if anything. Members are taken in as learners one by one; when all that are wished have caught
/// up, one joint change swaps them in and the unwished out; then the joint change is left. No change is begun towards voters of whom no
/// majority is heard: it could never be ended.
pub(crate) fn plan(
    leader: NodeId,
    membership: &Membership,
    members: &[Candidate],
    voters_max: u64,
) -> Option<Step> {
    if !membership.voters_outgoing.is_empty() {
        return Some(Step::Change(ConfChangeV2::default()));
    }
    let wished = wished_voters(leader, membership, members, voters_max);
    if let Some(step) = hand_over(leader, membership, members, &wished) {
        return Some(step);
    }
    let member = |node: &NodeId| members.iter().find(|member| member.node == *node);
    let newcomers: Vec<_> = wished.iter().filter(|node| !membership.voters.contains(node)).copied().collect();
    if let Some(node) = newcomers.iter().find(|node| !membership.learners.contains(node)) {
        return Some(Step::Change(single(ConfChangeType::AddLearnerNode, *node)));
    }
    if !newcomers.iter().all(|node| member(node).is_some_and(|member| member.caught_up)) {
        return None;
    }
    // The leader never votes itself out: it hands over as soon as someone wished can take over. Until then nobody else is voted out
    // either: with the leader that stays, those left would be an even number, of whom one loss too many ends the cluster.
    let leads_on = wished.contains(&leader);
    let unwished = membership.voters.iter().chain(&membership.learners);
    let unwished = unwished.filter(|node| leads_on && !wished.contains(node));
    let added = newcomers.iter().map(|node| change(ConfChangeType::AddNode, *node));
    let removed = unwished.map(|node| change(ConfChangeType::RemoveNode, *node));
    let changes: Vec<_> = added.chain(removed).collect();
    let is_heard = |node: &NodeId| member(node).is_some_and(|member| member.heard);
    // A leader just elected may hear whom an earlier one had given up, and not hear whom nobody has given up yet. Who is gone shows before
    // long; until then nobody goes that is heard while one stays that is not.
    let goes_heard = |node: &NodeId| {
        leads_on
            && !wished.contains(node)
            && member(node).is_some_and(|member| member.heard && !member.leaving)
    };
    let stays_unheard = |node: &NodeId| wished.contains(node) && !is_heard(node);
    if membership.voters.iter().any(goes_heard) && membership.voters.iter().any(stays_unheard) {
        return None;
    }
    let stays = |node: &&NodeId| wished.contains(node) || !leads_on;
    let voters: Vec<_> = membership.voters.iter().filter(stays).chain(&newcomers).collect();
    let heard = voters.iter().filter(|node| is_heard(node)).count();
    if changes.is_empty() || 2 * heard <= voters.len() {
        return None;
    }
    let transition = ConfChangeTransition::Explicit;
    Some(Step::Change(ConfChangeV2 { transition, changes: changes.into(), ..Default::default() }))
}

/// An odd number: those that vote already and are well, then the well that learn, then others that are well; only to make up the
/// number, voters that are not.
fn wished_voters(
    leader: NodeId,
    membership: &Membership,
    members: &[Candidate],
    voters_max: u64,
) -> Vec<NodeId> {
    let staying: Vec<_> = members.iter().filter(|member| !member.leaving).collect();
    let target = odd_at_most((staying.len() as u64).min(voters_max));
    let rank = |member: &Candidate| {
        let votes = membership.voters.contains(&member.node);
        let learns = membership.learners.contains(&member.node);
        let rank = match (member.healthy || member.node == leader, votes, learns) {
            (true, true, _) => 0,
            (true, _, true) => 1,
            (true, ..) => 2,
            (false, true, _) => 3,
            (false, ..) => 4,
        };
        (rank, member.node != leader, member.node)
    };
    let mut ranked: Vec<_> = staying.iter().map(|member| rank(member)).collect();
    ranked.sort_unstable();
    // A member that is neither well nor a voter could not catch up: better fewer voters.
    ranked.retain(|(rank, ..)| *rank < 4);
    let count = odd_at_most((ranked.len() as u64).min(target)) as usize;
    ranked.truncate(count);
    let mut wished: Vec<_> = ranked.into_iter().map(|(_, _, node)| node).collect();
    wished.sort_unstable();
    wished
}

fn hand_over(
    leader: NodeId,
    membership: &Membership,
    members: &[Candidate],
    wished: &[NodeId],
) -> Option<Step> {
    if wished.contains(&leader) || wished.is_empty() {
        return None;
    }
    let able = |node: &&NodeId| {
        membership.voters.contains(node)
            && members
                .iter()
                .any(|member| member.node == **node && member.healthy && member.caught_up && member.heard)
    };
    wished.iter().find(able).map(|node| Step::HandOver(*node))
}

fn odd_at_most(count: u64) -> u64 {
    if count.is_multiple_of(2) { count.saturating_sub(1) } else { count }
}

fn change(kind: ConfChangeType, node: NodeId) -> ConfChangeSingle {
    ConfChangeSingle { change_type: kind, node_id: node.0, ..Default::default() }
}

fn single(kind: ConfChangeType, node: NodeId) -> ConfChangeV2 {
    ConfChangeV2 { changes: vec![change(kind, node)].into(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, healthy: bool) -> Candidate {
        Candidate { node: NodeId(node), healthy, leaving: false, caught_up: healthy, heard: healthy }
    }

    fn membership(voters: &[u64], learners: &[u64]) -> Membership {
        let nodes = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
        Membership { voters: nodes(voters), learners: nodes(learners), ..Membership::default() }
    }

    fn told(step: Option<Step>) -> String {
        let Some(step) = step else { return "nothing".into() };
        let change = match step {
            Step::HandOver(node) => return format!("hand over to {node}"),
            Step::Change(change) => change,
        };
        if change.changes.is_empty() {
            return "leave joint".into();
        }
        let each = change.changes.iter().map(|c| format!("{:?} {}", c.change_type, c.node_id));
        each.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn two_hosts_are_one_voter() {
        let step = plan(NodeId(1), &membership(&[1], &[]), &[member(1, true), member(2, true)], 5);
        assert_eq!(told(step), "nothing");
    }

    #[test]
    fn three_hosts_become_three_voters_learners_first() {
        let hosts = [member(1, true), member(2, true), member(3, true)];
        let step = plan(NodeId(1), &membership(&[1], &[]), &hosts, 5);
        assert_eq!(told(step), "AddLearnerNode 2");
        let step = plan(NodeId(1), &membership(&[1], &[2]), &hosts, 5);
        assert_eq!(told(step), "AddLearnerNode 3");
        let step = plan(NodeId(1), &membership(&[1], &[2, 3]), &hosts, 5);
        assert_eq!(told(step), "AddNode 2, AddNode 3");
    }

    #[test]
    fn nobody_votes_before_all_newcomers_have_caught_up() {
        let mut hosts = [member(1, true), member(2, true), member(3, true)];
        hosts[2].caught_up = false;
        assert_eq!(told(plan(NodeId(1), &membership(&[1], &[2, 3]), &hosts, 5)), "nothing");
    }

    #[test]
    fn a_lost_voter_is_replaced_only_when_someone_well_is_there() {
        let hosts = [member(1, true), member(2, true), member(3, false)];
        assert_eq!(told(plan(NodeId(1), &membership(&[1, 2, 3], &[]), &hosts, 5)), "nothing");
        let hosts = [member(1, true), member(2, true), member(3, false), member(4, true)];
        let step = plan(NodeId(1), &membership(&[1, 2, 3], &[4]), &hosts, 3);
        assert_eq!(told(step), "AddNode 4, RemoveNode 3");
    }

    #[test]
    fn a_leaving_leader_hands_over_first() {
        let mut hosts = [member(1, true), member(2, true), member(3, true), member(4, true)];
        hosts[0].leaving = true;
        let step = plan(NodeId(1), &membership(&[1, 2, 3], &[]), &hosts, 5);
        assert_eq!(told(step), "hand over to n2");
        let step = plan(NodeId(2), &membership(&[1, 2, 3], &[4]), &hosts, 5);
        assert_eq!(told(step), "AddNode 4, RemoveNode 1");
    }

    #[test]
    fn a_leaving_leader_votes_nobody_out_before_it_hands_over() {
        // Elected anew by hosts that an earlier leader had given up.
        let mut hosts = [member(1, false), member(2, true), member(3, false)];
        (hosts[0].caught_up, hosts[0].heard) = (true, true);
        (hosts[2].caught_up, hosts[2].heard) = (true, true);
        hosts[1].leaving = true;
        assert_eq!(told(plan(NodeId(2), &membership(&[1, 2, 3], &[]), &hosts, 5)), "nothing");
        // Someone who can take over has to be let in first.
        let hosts = [Candidate { leaving: true, ..member(1, true) }, member(2, true)];
        assert_eq!(told(plan(NodeId(1), &membership(&[1], &[2]), &hosts, 5)), "AddNode 2");
    }

    #[test]
    fn voters_of_whom_no_majority_is_heard_are_not_aimed_at() {
        // 2 is gone for good and nobody has noticed yet; 1 and 3 are to leave.
        let mut hosts = [member(1, true), member(2, true), member(3, true)];
        (hosts[0].leaving, hosts[2].leaving) = (true, true);
        (hosts[1].caught_up, hosts[1].heard) = (false, false);
        assert_eq!(told(plan(NodeId(1), &membership(&[1, 2, 3], &[]), &hosts, 5)), "nothing");
        (hosts[1].caught_up, hosts[1].heard) = (true, true);
        assert_eq!(told(plan(NodeId(1), &membership(&[1, 2, 3], &[]), &hosts, 5)), "hand over to n2");
    }

    #[test]
    fn half_of_the_voters_is_no_majority() {
        let mut hosts = [1, 2, 3, 4, 5].map(|node| member(node, true));
        for host in &mut hosts[2..] {
            host.heard = false;
        }
        let five = membership(&[1, 2, 3], &[4, 5]);
        assert_eq!(told(plan(NodeId(1), &five, &hosts, 5)), "nothing");
        hosts[2].heard = true;
        assert_eq!(told(plan(NodeId(1), &five, &hosts, 5)), "AddNode 4, AddNode 5");
        // Who goes is not asked.
        let mut hosts = [1, 2, 3, 4, 5].map(|node| member(node, true));
        for host in &mut hosts[2..] {
            (host.heard, host.leaving) = (false, host.node > NodeId(3));
        }
        let step = plan(NodeId(1), &membership(&[1, 2, 3, 4, 5], &[]), &hosts, 5);
        assert_eq!(told(step), "RemoveNode 4, RemoveNode 5");
        // A leader that leaves stays until someone can take over.
        let mut hosts = [Candidate { leaving: true, ..member(1, true) }, member(2, true)];
        hosts[1].heard = false;
        assert_eq!(told(plan(NodeId(1), &membership(&[1], &[2]), &hosts, 5)), "nothing");
    }

    #[test]
    fn who_is_lost_and_does_not_vote_is_not_waited_for() {
        let hosts = [member(1, true), member(2, false), member(3, false)];
        assert_eq!(told(plan(NodeId(1), &membership(&[1], &[]), &hosts, 5)), "nothing");
        let step = plan(NodeId(1), &membership(&[1], &[2, 3]), &hosts, 5);
        assert_eq!(told(step), "RemoveNode 2, RemoveNode 3");
        // With one that is well besides they would be two.
        let hosts = [member(1, true), member(2, true), member(3, false)];
        assert_eq!(told(plan(NodeId(1), &membership(&[1], &[]), &hosts, 5)), "nothing");
    }

    #[test]
    fn who_is_heard_is_not_voted_out_while_one_stays_that_is_not() {
        // 3 was given up by an earlier leader and is there again; 2 is gone and nobody has noticed yet.
        let mut hosts = [member(1, true), member(2, true), member(3, false), member(4, true)];
        (hosts[1].caught_up, hosts[1].heard) = (false, false);
        (hosts[2].caught_up, hosts[2].heard) = (true, true);
        let voters = membership(&[1, 2, 3], &[4]);
        assert_eq!(told(plan(NodeId(1), &voters, &hosts, 3)), "nothing");
        // 2 is heard again: then 3 may go.
        let mut back = hosts;
        (back[1].caught_up, back[1].heard) = (true, true);
        assert_eq!(told(plan(NodeId(1), &voters, &back, 3)), "AddNode 4, RemoveNode 3");
        // Or it is given up, and 3 is taken back.
        (hosts[1].healthy, hosts[2].healthy) = (false, true);
        assert_eq!(told(plan(NodeId(1), &voters, &hosts, 3)), "AddNode 4, RemoveNode 2");
        // Who leaves goes all the same.
        let mut hosts = [member(1, true), member(2, true), member(3, true), member(4, true)];
        (hosts[1].heard, hosts[2].leaving) = (false, true);
        assert_eq!(told(plan(NodeId(1), &voters, &hosts, 3)), "AddNode 4, RemoveNode 3");
    }

    #[test]
    fn a_joint_change_is_always_left() {
        let mut joint = membership(&[1, 2, 3], &[]);
        joint.voters_outgoing = vec![NodeId(1)];
        assert_eq!(told(plan(NodeId(1), &joint, &[member(1, true)], 5)), "leave joint");
    }
}
