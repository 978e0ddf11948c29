//! A made-up node whose log the tests write.

use std::sync::Arc;

use blixard_node::codec::encode_command;
use blixard_node::command::{HostSpec, Place};
use blixard_node::config::Settings;
use blixard_node::ids::{ClientId, ClusterId, Incarnation};
use blixard_node::level::Level;
use blixard_node::spec::{FailoverPolicy, Labels, RestartPolicy, VmSpec};

use super::super::view::LogView;
use super::*;

/// A cluster of one node with one host of 4 CPUs.
pub(in crate::checkers) struct Cluster {
    pub(in crate::checkers) state: State,
    log: Vec<Vec<u8>>,
    hashes: Vec<u64>,
    pub(in crate::checkers) id: NodeId,
    pub(in crate::checkers) replicas: Vec<NodeId>,
    /// So many entries at the end it has not carried out.
    pub(in crate::checkers) not_applied: u64,
    pub(in crate::checkers) level: Level,
    pub(in crate::checkers) lease: bool,
}

impl NodeView for Cluster {
    fn id(&self) -> NodeId {
        self.id
    }
    fn log(&self) -> Option<LogView> {
        let last_index = self.log.len() as u64;
        let (commit, applied) = (last_index, last_index - self.not_applied);
        Some(LogView {
            term: 1,
            is_leader: self.id == NodeId(1),
            commit,
            applied,
            first_index: 1,
            last_index,
        })
    }
    fn log_term(&self, index: u64) -> Option<u64> {
        self.log_data(index).map(|_| 1)
    }
    fn log_data(&self, index: u64) -> Option<&[u8]> {
        self.log.get(index.checked_sub(1)? as usize).map(Vec::as_slice)
    }
    fn state(&self) -> Option<&State> {
        Some(&self.state)
    }
    fn replicates_to(&self, node: NodeId) -> bool {
        self.replicas.contains(&node)
    }
    fn level(&self) -> Level {
        self.level
    }
    fn has_lease(&self) -> bool {
        self.lease
    }
}

impl Cluster {
    pub(in crate::checkers) fn new() -> Self {
        let state = State::new(ClusterId(1), Settings::default(), Revision(0));
        let (id, replicas) = (NodeId(1), vec![NodeId(1)]);
        let (log, hashes, not_applied) = (Vec::new(), Vec::new(), 0);
        let mut cluster =
            Self { state, log, hashes, id, replicas, not_applied, level: Level::NEWEST, lease: false };
        let host = HostSpec {
            address: "here".into(),
            capacity: Resources { vcpus: 4, memory_mib: 1_000 },
            labels: Labels::from([("hypervisor.sim".into(), "true".into())]),
        };
        cluster.run(Action::AddHost { node: NodeId(1), incarnation: Incarnation(1), host });
        cluster.note_nothing();
        cluster
    }

    /// Carries an action out as the node would.
    pub(in crate::checkers) fn run(&mut self, action: Action) {
        let command = Command { at: WallMs(1), action };
        self.log.push(encode_command(&command).to_vec());
        self.state.apply(Revision(self.log.len() as u64), &command);
        self.hashes.push(self.state.hash());
    }

    /// A new leader's first entry.
    fn note_nothing(&mut self) {
        self.log.push(Vec::new());
        self.state.revision = Revision(self.log.len() as u64);
        self.hashes.push(self.state.hash());
    }

    pub(in crate::checkers) fn write(&mut self, sequence: u64, write: Write, place: Place) {
        let id = RequestId { client: ClientId(1), sequence, born: Revision(0) };
        self.run(Action::Client { id, write, place });
    }

    pub(in crate::checkers) fn create(&mut self, name: &str, sequence: u64) {
        let spec = VmSpec {
            resources: Resources { vcpus: 3, memory_mib: 64 },
            requires: Labels::new(),
            restart: RestartPolicy::Always,
            failover: FailoverPolicy::Move,
            local_volume: false,
            hypervisor: "sim".into(),
            payload: String::new(),
            ports: Vec::new(),
        };
        self.write(sequence, Write::CreateVm { name: named(name), spec: Arc::new(spec) }, Place::Unneeded);
    }

    pub(in crate::checkers) fn start(&mut self, name: &str, sequence: u64) {
        let write = Write::StartVm { name: named(name), generation: None };
        self.write(sequence, write, Place::On(NodeId(1)));
    }

    /// Shows a checker all that it has not seen.
    pub(in crate::checkers) fn feed(&self, replay: &mut Replay) -> Result<Effect, Breach> {
        let mut effect = Effect::default();
        let from = replay.revision().map_or(1, |revision| revision.0 + 1);
        for index in from..=self.log.len() as u64 {
            effect = replay.applied(self, Revision(index), self.hashes[index as usize - 1])?;
        }
        Ok(effect)
    }
}

pub(in crate::checkers) fn named(name: &str) -> VmName {
    VmName::new(name).expect("a name")
}

#[test]
fn every_state_is_remembered() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("holds");
    cluster.create("a", 1);
    cluster.start("a", 2);
    cluster.write(
        3,
        Write::DeleteVm { name: named("a"), generation: None, keep_volumes: false },
        Place::Unneeded,
    );
    cluster.feed(&mut replay).expect("holds");
    let at = |revision| replay.vm_at(&named("a"), Revision(revision));
    assert_eq!(at(2), None);
    assert_eq!(at(3).map(|facts| facts.wanted), Some(Wanted::Stopped));
    assert_eq!(at(4).map(|facts| facts.wanted), Some(Wanted::Running));
    assert_eq!(at(4).and_then(|facts| facts.assigned), Some((NodeId(1), Epoch(1))));
    assert_eq!(at(5).map(|facts| facts.deleting), Some(true));
    assert_eq!(replay.vms_at(Revision(4)).count(), 1);
    let id = |sequence| RequestId { client: ClientId(1), sequence, born: Revision(0) };
    assert_eq!(replay.executed_at(id(2)), Some(Revision(4)));
    assert_eq!(replay.executed_at(id(9)), None);
}

#[test]
fn a_lost_host_is_told() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("holds");
    cluster.run(Action::LoseHost { node: NodeId(1) });
    assert_eq!(cluster.feed(&mut replay), Ok(Effect { lost: Some(NodeId(1)), ..Effect::default() }));
}

#[test]
fn a_retry_without_effect_passes_and_one_with_effect_is_found() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("holds");
    cluster.create("a", 1);
    cluster.create("a", 1);
    cluster.feed(&mut replay).expect("the session knows the retry");
    // The node's session table forgets: the retry takes effect.
    let mut fresh = State::new(ClusterId(1), Settings::default(), cluster.state.revision);
    std::mem::swap(&mut fresh.sessions, &mut cluster.state.sessions);
    if let Some(state) = &mut replay.state {
        state.sessions = cluster.state.sessions.clone();
    }
    cluster.write(
        1,
        Write::CordonHost { node: NodeId(1), cordoned: true, reason: String::new() },
        Place::Unneeded,
    );
    assert_eq!(cluster.feed(&mut replay).unwrap_err().property, "exactly-once");
}

#[test]
fn a_state_that_does_not_follow_from_the_log_is_found() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("holds");
    cluster.create("a", 1);
    *cluster.hashes.last_mut().expect("one") ^= 1;
    assert_eq!(cluster.feed(&mut replay).unwrap_err().property, "state-hash");
}

#[test]
fn what_was_not_seen_is_not_known() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("holds");
    cluster.create("a", 1);
    cluster.create("b", 2);
    let (newest, hash) = (cluster.state.revision, cluster.state.hash());
    replay.applied(&cluster, newest, hash).expect("holds");
    assert!(!replay.knows(Revision(newest.0 - 1)));
    assert!(replay.knows(newest));
    assert_eq!(replay.unseen(), 1);
    assert_eq!(replay.vms_at(newest).count(), 2);
}

#[test]
fn an_assignment_over_capacity_is_found() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.create("a", 1);
    cluster.create("b", 2);
    cluster.feed(&mut replay).expect("holds");
    cluster.start("a", 3);
    cluster.feed(&mut replay).expect("3 of 4");
    // The node would not do this: the checker's own count is shown a smaller host.
    replay.taken.insert(NodeId(1), Resources { vcpus: 4, memory_mib: 64 });
    let mut roomy = cluster.state.hosts.get(&NodeId(1)).expect("there").spec.clone();
    roomy.capacity.vcpus = 6;
    cluster.run(Action::AddHost { node: NodeId(1), incarnation: Incarnation(1), host: roomy });
    cluster.feed(&mut replay).expect("holds");
    cluster.start("b", 4);
    assert_eq!(cluster.feed(&mut replay).unwrap_err().property, "capacity");
}

#[test]
fn messages_name_the_revisions_and_the_values() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("holds");
    cluster.create("a", 1);
    let (hash, wrong) = (cluster.state.hash(), cluster.state.hash() ^ 1);
    *cluster.hashes.last_mut().expect("one") = wrong;
    assert_eq!(
        cluster.feed(&mut replay).unwrap_err().message,
        format!("r3 leads to hash {hash:016x} when carried out again, a node had {wrong:016x}")
    );
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.create("a", 1);
    cluster.feed(&mut replay).expect("holds");
    let id = RequestId { client: ClientId(1), sequence: 1, born: Revision(0) };
    replay.executed.insert(id, Revision(3));
    replay.state.as_mut().expect("one").sessions = Default::default();
    cluster.state.sessions = Default::default();
    cluster.write(
        1,
        Write::CordonHost { node: NodeId(1), cordoned: true, reason: String::new() },
        Place::Unneeded,
    );
    assert_eq!(
        cluster.feed(&mut replay).unwrap_err().message,
        format!("request {id:?} took effect at r3 and again at r4")
    );
}

#[test]
fn a_vm_on_no_member_is_found() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.create("a", 1);
    cluster.feed(&mut replay).expect("holds");
    cluster.start("a", 2);
    cluster.feed(&mut replay).expect("3 of 4");
    replay.state.as_mut().expect("one").hosts.clear();
    let breach = replay.within_capacity(Revision(4), NodeId(1)).unwrap_err();
    assert_eq!(breach.message, "at r4 a VM is assigned to n1, which is no member");
    let cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("holds");
    replay.taken.insert(NodeId(1), Resources { vcpus: 4, memory_mib: 1_000 });
    assert_eq!(replay.within_capacity(Revision(4), NodeId(1)), Ok(()), "full to the brim");
    replay.taken.insert(NodeId(1), Resources { vcpus: 4, memory_mib: 1_001 });
    assert_eq!(
        replay.within_capacity(Revision(4), NodeId(1)).unwrap_err().message,
        "at r4 VMs assigned to n1 take Resources { vcpus: 4, memory_mib: 1001 }, \
         it offers Resources { vcpus: 4, memory_mib: 1000 }"
    );
}

#[test]
fn what_another_node_has_carried_out_before_counts_once() {
    let mut cluster = Cluster::new();
    let mut replay = Replay::default();
    cluster.create("a", 1);
    cluster.feed(&mut replay).expect("holds");
    let (newest, hash) = (cluster.state.revision, cluster.state.hash());
    cluster.id = NodeId(2);
    assert_eq!(replay.applied(&cluster, newest, hash), Ok(Effect::default()));
    assert_eq!(replay.applied(&cluster, Revision(2), hash ^ 1), Ok(Effect::default()), "others compare it");
    assert_eq!((replay.unseen(), replay.has_gaps()), (0, false));
}

/// A host that comes back smaller than what runs on it keeps its old size in the books, so that they stay true.
#[test]
fn a_host_does_not_shrink_below_what_it_carries() {
    let mut cluster = Cluster::new();
    cluster.create("a", 1);
    cluster.start("a", 2);
    let host = cluster.state.hosts.get(&NodeId(1)).expect("there").spec.clone();
    let sized = |vcpus| HostSpec {
        address: "elsewhere".into(),
        capacity: Resources { vcpus, memory_mib: 1_000 },
        ..host.clone()
    };
    for (vcpus, kept) in [(2, 4), (3, 3)] {
        let node = NodeId(1);
        cluster.run(Action::AddHost { node, incarnation: Incarnation(1), host: sized(vcpus) });
        let spec = &cluster.state.hosts[&node].spec;
        assert_eq!((spec.capacity.vcpus, spec.address.as_str()), (kept, "elsewhere"));
    }
    let mut replay = Replay::default();
    cluster.feed(&mut replay).expect("the books hold");
}
