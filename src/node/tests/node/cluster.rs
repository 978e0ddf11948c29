//! A few nodes in one process, driven step by step: messages take 1 ms, writes are durable at once, and the hypervisor
//! starts and stops at once and keeps deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use blixard_node::command::HostSpec;
use blixard_node::config::{Limits, NodeConfig, RaftConfig, Settings};
use blixard_node::effects::{Effects, Event};
use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent,
};
use blixard_node::ids::{ClientId, ClusterId, NodeId, OpId, RequestId, Revision, Ticket};
use blixard_node::input::Input;
use blixard_node::level::Level;
use blixard_node::message::{Body, Message};
use blixard_node::request::{Reply, Request, Write};
use blixard_node::spec::{FailoverPolicy, Resources, RestartPolicy, VmName, VmSpec};
use blixard_node::stored::Stored;
use blixard_node::time::{Duration, Now, Time, WallMs};
use blixard_node::{Node, OpenError, bootstrap};
use raft::eraftpb::MessageType;

const LATENCY: Duration = Duration::from_millis(1);

pub(crate) struct Machine {
    pub(crate) node: Option<Node>,
    pub(crate) disk: Stored,
    pub(crate) runs: BTreeMap<Run, Time>,
    pub(crate) config: NodeConfig,
    lives: u64,
}

/// How all guests are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guests {
    Willing,
    /// Their hypervisor has no way to ask them to power off.
    Unaskable,
    /// They live and do not get ready.
    NeverReady,
}

pub(crate) struct Cluster {
    pub(crate) now: Time,
    pub(crate) machines: BTreeMap<u64, Machine>,
    queue: BTreeMap<(Time, u64), (u64, Input)>,
    sequence: u64,
    /// Links that are cut, one way.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    /// Kinds of messages held back, with what was held.
    pub(crate) hold: Option<(u64, u64, &'static str)>,
    pub(crate) held: Vec<(u64, Message)>,
    pub(crate) replies: BTreeMap<u64, Reply>,
    tickets: u64,
    requests: u64,
    seed: u64,
    pub(crate) log: String,
    pub(crate) tell: bool,
    pub(crate) raft: RaftConfig,
    /// How long a hypervisor takes to list what it has.
    pub(crate) list_takes: Duration,
    pub(crate) guests: Guests,
    /// Hypervisors take a purge and say nothing of it.
    pub(crate) purges_hang: bool,
    /// How often a node has written its term and vote.
    pub(crate) votes_written: u64,
    /// All that is said, from whom to whom, while somebody listens.
    pub(crate) said: Option<Vec<(u64, u64, Message)>>,
    /// Where members are reached, each time that a node was told.
    pub(crate) directories: BTreeMap<u64, Vec<Vec<(NodeId, String)>>>,
}

pub(crate) fn config(id: u64, raft: &RaftConfig, peers: &[u64]) -> NodeConfig {
    let labels = [("hypervisor.simulated".to_owned(), "true".to_owned())].into();
    NodeConfig {
        id: NodeId(id),
        host: HostSpec {
            address: format!("host{id}:7001"),
            capacity: Resources { vcpus: 4, memory_mib: 4096 },
            labels,
        },
        peers: peers.iter().map(|peer| (NodeId(*peer), format!("host{peer}:7001"))).collect(),
        raft: raft.clone(),
        limits: Limits::default(),
        feature_level: Level::NEWEST,
    }
}

pub(crate) fn spec() -> Arc<VmSpec> {
    Arc::new(VmSpec {
        resources: Resources { vcpus: 1, memory_mib: 512 },
        requires: BTreeMap::new(),
        restart: RestartPolicy::Always,
        failover: FailoverPolicy::Move,
        local_volume: false,
        hypervisor: "simulated".into(),
        payload: String::new(),
        ports: Vec::new(),
    })
}

/// One turn of a sound node.
pub(crate) fn turn_of(node: &mut Node, now: Now, inputs: Vec<Input>) -> Effects {
    let mut out = Effects::default();
    for input in inputs {
        node.step(now, input, &mut out);
    }
    node.settle(now, &mut out);
    node.check();
    out
}

pub(crate) fn clock(now: Time) -> Now {
    Now { boot: now, wall: WallMs(now.0 / 1_000_000) }
}

impl Cluster {
    pub(crate) fn new(seed: u64, raft: RaftConfig) -> Self {
        Self::at_level(Level::NEWEST, seed, raft)
    }

    pub(crate) fn at_level(level: Level, seed: u64, raft: RaftConfig) -> Self {
        let mut cluster = Self {
            now: Time(0),
            machines: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            hold: None,
            held: Vec::new(),
            replies: BTreeMap::new(),
            tickets: 0,
            requests: 0,
            seed,
            log: String::new(),
            tell: false,
            raft,
            list_takes: LATENCY,
            guests: Guests::Willing,
            purges_hang: false,
            votes_written: 0,
            said: None,
            directories: BTreeMap::new(),
        };
        let first = NodeConfig { feature_level: level, ..config(1, &cluster.raft, &[]) };
        let disk = bootstrap(&first, &Settings::default(), ClusterId(7), seed).unwrap();
        cluster
            .machines
            .insert(1, Machine { node: None, disk, runs: BTreeMap::new(), config: first, lives: 0 });
        cluster.open(1);
        cluster
    }

    /// Members 1 to `count`, settled, that write down what happens.
    pub(crate) fn grown(count: u64, raft: RaftConfig) -> Self {
        let mut cluster = Self::new(1, raft);
        cluster.tell = true;
        (2..=count).for_each(|id| cluster.add(id));
        cluster.run(Duration::from_secs(20));
        cluster
    }

    pub(crate) fn add(&mut self, id: u64) {
        self.add_at(id, Level::NEWEST);
    }

    pub(crate) fn add_at(&mut self, id: u64, feature_level: Level) {
        let config = NodeConfig { feature_level, ..config(id, &self.raft, &[1]) };
        let disk = Stored::default();
        self.machines.insert(id, Machine { node: None, disk, runs: BTreeMap::new(), config, lives: 0 });
        self.open(id);
    }

    pub(crate) fn open(&mut self, id: u64) {
        self.try_open(id).unwrap();
    }

    /// Ends the process and starts one that speaks `level`.
    pub(crate) fn replace(&mut self, id: u64, level: Level) -> Result<(), OpenError> {
        self.crash(id);
        self.machines.get_mut(&id).unwrap().config.feature_level = level;
        self.try_open(id)
    }

    fn try_open(&mut self, id: u64) -> Result<(), OpenError> {
        let now = self.clock();
        let seed = self.seed;
        let machine = self.machines.get_mut(&id).unwrap();
        machine.lives += 1;
        let seed = seed ^ (id << 32) ^ machine.lives;
        machine.node = Some(Node::open(machine.config.clone(), seed, machine.disk.clone(), now)?);
        Ok(())
    }

    pub(crate) fn crash(&mut self, id: u64) {
        self.machines.get_mut(&id).unwrap().node = None;
        self.queue.retain(|_, (to, input)| *to != id || !matches!(input, Input::HypervisorDone { .. }));
    }

    fn clock(&self) -> Now {
        clock(self.now)
    }

    pub(crate) fn node(&self, id: u64) -> &Node {
        self.machines[&id].node.as_ref().unwrap()
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |machine: &Machine| machine.node.as_ref().is_some_and(|node| node.consensus().is_leader);
        self.machines.iter().filter(|(_, machine)| leads(machine)).map(|(id, _)| *id).next()
    }

    fn post(&mut self, at: Time, to: u64, input: Input) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), (to, input));
    }

    pub(crate) fn ask(&mut self, id: u64, request: Request) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        self.turn(id, Input::Request { ticket: Ticket(ticket), request: Box::new(request) });
        ticket
    }

    pub(crate) fn next_id(&mut self) -> RequestId {
        self.requests += 1;
        RequestId { client: ClientId(1), sequence: self.requests, born: Revision(0) }
    }

    pub(crate) fn write(&mut self, id: u64, write: Write) -> u64 {
        let request = self.next_id();
        self.ask(id, Request::Write { id: request, write })
    }

    /// Writes at the leader and waits for the answer.
    pub(crate) fn done(&mut self, write: Write) -> Reply {
        let leader = self.leader().expect("a leader");
        let ticket = self.write(leader, write);
        self.run(Duration::from_millis(100));
        self.replies.get(&ticket).cloned().expect("an answer")
    }

    pub(crate) fn turn(&mut self, id: u64, input: Input) {
        let now = self.clock();
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let Some(node) = &mut machine.node else { return };
        let out = turn_of(node, now, vec![input]);
        self.votes_written += u64::from(out.writes.hard_state.is_some());
        machine.disk.apply(&out.writes);
        check_promises(machine, &out);
        self.release(id, out);
    }

    fn release(&mut self, id: u64, out: Effects) {
        for event in &out.events {
            self.tell_event(id, event);
        }
        for (to, message) in out.early_sends.into_iter().chain(out.sends) {
            self.send(id, to.0, message);
        }
        for (ticket, reply) in out.replies {
            self.replies.insert(ticket.0, reply);
        }
        self.directories.entry(id).or_default().extend(out.directory);
        for (op, request) in out.hypervisor {
            self.hypervise(id, op, request);
        }
    }

    fn send(&mut self, from: u64, to: u64, message: Message) {
        if let Some(said) = &mut self.said {
            said.push((from, to, message.clone()));
        }
        if self.cut.contains(&(from, to)) {
            return;
        }
        if self.hold == Some((from, to, kind(&message.body))) {
            self.held.push((to, message));
            return;
        }
        self.post(self.now + LATENCY, to, Input::Deliver(Box::new(message)));
    }

    /// Lets held messages go now.
    pub(crate) fn let_go(&mut self) {
        self.hold = None;
        for (to, message) in std::mem::take(&mut self.held) {
            self.post(self.now + LATENCY, to, Input::Deliver(Box::new(message)));
        }
    }

    fn hypervise(&mut self, id: u64, op: OpId, request: HypervisorRequest) {
        let now = self.now;
        let takes = if request == HypervisorRequest::List { self.list_takes } else { LATENCY };
        let guests = self.guests;
        let runs = &mut self.machines.get_mut(&id).unwrap().runs;
        let result = match request {
            HypervisorRequest::Stop { .. } if guests == Guests::Unaskable => {
                Err(HypervisorError::Unsupported { what: "ask its guest to power off".into() })
            }
            HypervisorRequest::Prepare { .. } => Ok(Done::Prepared { artifact: None }),
            HypervisorRequest::Start { run, deadline, .. } => {
                match runs.keys().find(|other| other.vm == run.vm) {
                    Some(other) => Err(HypervisorError::AlreadyRunning { epoch: other.epoch }),
                    None if deadline <= now => Err(HypervisorError::DeadlinePassed),
                    None => {
                        runs.insert(run, deadline);
                        self.note(&format!("{} starts", told(id, run)));
                        if guests == Guests::NeverReady {
                            return;
                        }
                        Ok(Done::Started)
                    }
                }
            }
            HypervisorRequest::Stop { run, .. } | HypervisorRequest::Kill { run } => {
                if runs.remove(&run).is_some() {
                    self.note(&format!("{} stops", told(id, run)));
                }
                Ok(Done::Stopped)
            }
            HypervisorRequest::Pause { run } => {
                self.note(&format!("{} pauses", told(id, run)));
                Ok(Done::Paused)
            }
            HypervisorRequest::Resume { run } => {
                self.note(&format!("{} resumes", told(id, run)));
                Ok(Done::Resumed)
            }
            HypervisorRequest::Purge { .. } if self.purges_hang => return,
            HypervisorRequest::Purge { run, .. } => {
                assert!(!runs.keys().any(|other| other.vm == run.vm), "what runs is not purged");
                self.note(&format!("{} is purged", told(id, run)));
                Ok(Done::Purged)
            }
            HypervisorRequest::Extend { runs: which, deadline } => {
                for run in which {
                    runs.entry(run).and_modify(|old| *old = (*old).max(deadline));
                }
                return;
            }
            HypervisorRequest::List => {
                let never_ready = guests == Guests::NeverReady;
                let state = if never_ready { RunState::Starting } else { RunState::Running };
                let view = |run: &Run| RunView { run: *run, state };
                Ok(Done::Listed(runs.keys().map(view).collect()))
            }
        };
        self.post(now + takes, id, Input::HypervisorDone { op, result });
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let wakes = self.machines.values().filter_map(|machine| machine.node.as_ref()?.deadline());
            let deadlines = self.machines.values().flat_map(|machine| machine.runs.values().copied());
            let Some(at) = queued.into_iter().chain(wakes).chain(deadlines).min() else { break };
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.kill_overdue();
            if let Some(((_, _), (to, input))) =
                self.queue.first_entry().filter(|e| e.key().0 <= self.now).map(|e| e.remove_entry())
            {
                self.turn(to, input);
                continue;
            }
            let due = |machine: &Machine| {
                machine.node.as_ref().and_then(Node::deadline).is_some_and(|deadline| deadline <= self.now)
            };
            let ids: Vec<_> = self.machines.iter().filter(|(_, m)| due(m)).map(|(id, _)| *id).collect();
            for id in ids {
                self.turn(id, Input::Wake);
            }
        }
        self.now = self.now.max(end);
    }

    fn kill_overdue(&mut self) {
        let now = self.now;
        let mut dead = Vec::new();
        for (id, machine) in &mut self.machines {
            let over: Vec<_> =
                machine.runs.iter().filter(|(_, end)| **end <= now).map(|(run, _)| *run).collect();
            for run in over {
                machine.runs.remove(&run);
                dead.push((*id, run));
            }
        }
        for (id, run) in dead {
            self.note(&format!("{} dies at its deadline", told(id, run)));
            let event = VmEvent::Exited { exit: Exit::DeadlinePassed, reason: String::new() };
            self.post(now + LATENCY, id, Input::HypervisorEvent { run, event });
        }
    }

    /// The hosts on which a VM of that name runs.
    pub(crate) fn running(&self) -> Vec<(u64, Run)> {
        self.machines.iter().flat_map(|(id, machine)| machine.runs.keys().map(|run| (*id, *run))).collect()
    }

    pub(crate) fn note(&mut self, text: &str) {
        if self.tell {
            let _ = writeln!(self.log, "{:>9}ms  {text}", self.now.0 / 1_000_000);
        }
    }

    fn tell_event(&mut self, id: u64, event: &Event) {
        let text = match event {
            Event::Applied { .. } => return,
            Event::BecameLeader { term } => format!("n{id} leads term {term}"),
            Event::LostLeadership { term } => format!("n{id} leads no more, term {term}"),
            Event::Restored { revision, .. } => format!("n{id} takes the snapshot {revision}"),
            Event::Compacted { revision } => format!("n{id} writes the snapshot {revision}"),
            Event::MembershipChanged { voters, outgoing, learners } => {
                format!("n{id} voters {voters:?} outgoing {outgoing:?} learners {learners:?}")
            }
            Event::HostLost { node } => format!("n{id} gives {node} up"),
            Event::LeaseExpired => format!("n{id} lease over"),
            Event::StaleSetRefused { at, got } => format!("n{id} at {at} refuses the set of {got}"),
            Event::Refused { .. } => format!("n{id} is refused"),
            Event::LevelRaised { level } => format!("n{id} raises the level to {level}"),
            Event::Outgrown { cluster, own } => {
                format!("n{id} speaks level {own} and ends: the cluster is at {cluster}")
            }
            Event::Joined => format!("n{id} is a member"),
            Event::Retired => format!("n{id} may end"),
        };
        self.note(&text);
    }
}

/// What a node owes those it speaks to when a turn is over and written.
fn check_promises(machine: &Machine, out: &Effects) {
    let Some(node) = &machine.node else { return };
    let (view, disk) = (node.consensus(), machine.disk.hard_state);
    assert_eq!(disk.term, view.term, "a term is written before anything is said in it");
    for (to, message) in &out.sends {
        if let Body::Raft(message) = &message.body
            && message.msg_type == MessageType::MsgRequestVoteResponse
            && !message.reject
        {
            assert_eq!((disk.term, disk.vote), (message.term, to.0), "a vote is written before it is given");
        }
    }
    let membership = node.membership();
    let alone = [&membership.voters, &membership.voters_outgoing];
    let alone = alone.into_iter().flatten().all(|voter| *voter == node.id());
    let held = out.writes.hard_state.is_some() || alone;
    assert!(!held || out.early_sends.is_empty(), "nothing leaves early that a crash would undo");
}

fn told(host: u64, run: Run) -> String {
    format!("host {host}: {} {}", run.vm, run.epoch)
}

pub(crate) fn kind(body: &Body) -> &'static str {
    match body {
        Body::Raft(_) => "raft",
        Body::SnapshotChunk(_) | Body::SnapshotAck { .. } => "snapshot",
        Body::Heartbeat(_) => "heartbeat",
        Body::HeartbeatAck(_) => "ack",
        _ => "other",
    }
}

pub(crate) fn name(text: &str) -> VmName {
    VmName::new(text).unwrap()
}
