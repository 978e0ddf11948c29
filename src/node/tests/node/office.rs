//! A leader alone: the test is all the other members, as agents and as voters, and decides what each of them says, and when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use blixard_node::command::{Action, Command, HostSpec};
use blixard_node::config::{NodeConfig, RaftConfig, Settings};
use blixard_node::effects::{Effects, Event};
use blixard_node::hypervisor::{Run, VmReport};
use blixard_node::ids::{
    ClientId, ClusterId, Epoch, Generation, Incarnation, NodeId, RequestId, Revision, Ticket, VmId,
};
use blixard_node::input::Input;
use blixard_node::level::Level;
use blixard_node::message::{Body, Heartbeat, HeartbeatAck, Message, Nonce};
use blixard_node::probes::Probe;
use blixard_node::request::{Consistency, Read, Reply, Request, Write};
use blixard_node::spec::{Phase, Resources, VmSpec, Wanted};
use blixard_node::state::{Host, State, Vm};
use blixard_node::stored::{EntryKind, HardState, Identity, LogEntry, Membership, Snapshot, Stored};
use blixard_node::time::{Duration, Time, WallMs};
use blixard_node::{Node, codec};
use raft::eraftpb::{self, MessageType};

use crate::cluster::{clock, config, name, spec, turn_of};

const CLUSTER: ClusterId = ClusterId(7);
/// The leader.
pub(crate) const ME: NodeId = NodeId(1);
/// What the snapshot that it opens on covers.
pub(crate) const BASE: u64 = 100;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Leader {
    pub(crate) node: Node,
    pub(crate) now: Time,
    /// What it has appended since it was elected.
    appended: BTreeMap<u64, LogEntry>,
    /// Voters and learners that say nothing.
    pub(crate) mute: BTreeSet<u64>,
    /// The others copy no entry above this; they answer all else.
    pub(crate) copied: u64,
    last: BTreeMap<u64, u64>,
    inputs: VecDeque<Input>,
    /// What it says to the others, but for consensus.
    pub(crate) said: Vec<(Time, NodeId, Body)>,
    /// Whom it has told to stand for election at once.
    pub(crate) successors: Vec<NodeId>,
    pub(crate) replies: Vec<(u64, Reply)>,
    pub(crate) events: Vec<Event>,
    asked: u64,
    beats: BTreeMap<u64, u64>,
}

/// What a leader opens on.
pub(crate) struct Disk {
    pub(crate) membership: Membership,
    pub(crate) hosts: BTreeMap<u64, Host>,
    pub(crate) removed: Vec<NodeId>,
    pub(crate) vms: Vec<Vm>,
    pub(crate) level: Level,
    pub(crate) settings: Settings,
    pub(crate) tail: Vec<Action>,
    /// Members that say nothing from the start.
    pub(crate) mute: Vec<u64>,
}

impl Disk {
    /// Of a cluster with these voters, and workers up to `hosts`.
    pub(crate) fn of(voters: &[u64], hosts: u64) -> Self {
        let membership = Membership { voters: nodes(voters), ..Membership::default() };
        let hosts = (1..=hosts).map(|id| (id, host(id))).collect();
        let (removed, vms, tail) = (Vec::new(), Vec::new(), Vec::new());
        let settings = Settings { voters_max: voters.len() as u64, ..Settings::default() };
        let level = Level::NEWEST;
        Self { membership, hosts, removed, vms, level, settings, tail, mute: Vec::new() }
    }

    pub(crate) fn host(&mut self, id: u64) -> &mut Host {
        self.hosts.get_mut(&id).unwrap()
    }

    /// Lists a VM; on `on` it runs.
    pub(crate) fn vm(&mut self, text: &str, on: Option<u64>) -> &mut Vm {
        self.vm_of(spec(), text, on)
    }

    pub(crate) fn vm_of(&mut self, spec: Arc<VmSpec>, text: &str, on: Option<u64>) -> &mut Vm {
        let id = VmId(self.vms.len() as u64 + 1);
        let mut vm = Vm::new(id, name(text), spec, WallMs(0));
        if let Some(on) = on {
            vm.epoch = Epoch(1);
            (vm.wanted, vm.phase) = (Wanted::Running, Phase::Running);
            (vm.assigned, vm.last_host) = (Some((NodeId(on), vm.epoch)), Some(NodeId(on)));
            vm.hosts.insert(NodeId(on));
        }
        self.vms.push(vm);
        self.vms.last_mut().unwrap()
    }

    fn stored(self) -> Stored {
        let mut state = State::new(CLUSTER, self.settings, Revision(BASE));
        state.level = self.level;
        let hosts = self.hosts.into_iter().map(|(id, host)| (NodeId(id), host));
        let state = State::restore(state, hosts, self.removed, self.vms);
        state.check();
        let data = codec::encode_state(&state);
        let entry = |(place, action): (usize, Action)| LogEntry {
            index: BASE + 1 + place as u64,
            term: 1,
            kind: EntryKind::Command,
            data: codec::encode_command(&Command { at: WallMs(0), action }),
        };
        Stored {
            identity: Some(Identity { cluster: CLUSTER, node: ME, incarnation: Incarnation(1) }),
            hard_state: HardState { term: 1, vote: 0, commit: BASE },
            snapshot: Some(Snapshot { index: BASE, term: 1, membership: self.membership, data }),
            entries: self.tail.into_iter().enumerate().map(entry).collect(),
            ..Stored::default()
        }
    }

    /// The leader of it, just elected, with all that it does of its own accord done.
    pub(crate) fn lead(self) -> Leader {
        self.lead_with(|_| {})
    }

    pub(crate) fn lead_with(self, change: impl FnOnce(&mut NodeConfig)) -> Leader {
        let mut leader = self.elect_with(change);
        leader.run(SECOND);
        leader
    }

    /// The leader of it in the moment of its election.
    pub(crate) fn elect(self) -> Leader {
        self.elect_with(|_| {})
    }

    /// A leader of it that hands over to voter 3, which does not stand for election: for a second the leader's log takes nothing.
    pub(crate) fn hand_over(self) -> Leader {
        let mut leader = self.lead();
        leader.hand_over();
        leader
    }

    fn elect_with(self, change: impl FnOnce(&mut NodeConfig)) -> Leader {
        let mut config = config(1, &RaftConfig::default(), &[]);
        config.host.capacity = self.hosts[&1].spec.capacity;
        change(&mut config);
        let now = Time(1_000_000_000_000);
        let mute = self.mute.iter().copied().collect();
        let mut leader = Leader {
            node: Node::open(config, 1, self.stored(), clock(now)).unwrap(),
            now,
            appended: BTreeMap::new(),
            mute,
            copied: u64::MAX,
            last: BTreeMap::new(),
            inputs: VecDeque::new(),
            said: Vec::new(),
            successors: Vec::new(),
            replies: Vec::new(),
            events: Vec::new(),
            asked: 0,
            beats: BTreeMap::new(),
        };
        for _ in 0..100 {
            if leader.leads() {
                return leader;
            }
            leader.wake();
        }
        panic!("it is not elected");
    }
}

pub(crate) fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

/// What a host offers that speaks the newest level.
pub(crate) fn offer(id: u64) -> HostSpec {
    config(id, &RaftConfig::default(), &[]).host.announcing(Level::NEWEST)
}

pub(crate) fn host(id: u64) -> Host {
    Host::new(offer(id), Incarnation(id), Revision(BASE))
}

pub(crate) fn one_vm() -> Resources {
    spec().resources
}

pub(crate) fn said_by(from: u64, body: Body) -> Input {
    said_by_disk(from, Incarnation(from), body)
}

pub(crate) fn said_by_disk(from: u64, incarnation: Incarnation, body: Body) -> Input {
    Input::Deliver(Box::new(Message { cluster: CLUSTER, from: NodeId(from), incarnation, body }))
}

pub(crate) fn report(vm: u64, generation: u64, phase: Phase) -> VmReport {
    VmReport {
        run: Run { vm: VmId(vm), epoch: Epoch(1) },
        generation: Generation(generation),
        phase,
        reason: String::new(),
        restarts: 0,
        artifact: None,
    }
}

impl Leader {
    pub(crate) fn leads(&self) -> bool {
        self.node.consensus().is_leader
    }

    pub(crate) fn state(&self) -> &State {
        self.node.state().unwrap()
    }

    pub(crate) fn has(&self, probe: Probe) -> bool {
        self.node.probes().has(probe)
    }

    /// What it has put into the log, carried out or not.
    pub(crate) fn log(&self) -> Vec<String> {
        let told = |entry: &LogEntry| match entry.kind {
            EntryKind::Command if entry.data.is_empty() => None,
            EntryKind::Command => Some(verb(&codec::decode_command(&entry.data).unwrap().action)),
            EntryKind::Membership => Some(change(&codec::decode_conf_change(&entry.data).unwrap())),
        };
        self.appended.values().filter_map(told).collect()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|entry| entry.as_str() == what).count()
    }

    pub(crate) fn turn(&mut self, input: Input) {
        self.turn_of(vec![input]);
    }

    /// One turn of all of these, and then what the others have to say to it.
    pub(crate) fn turn_of(&mut self, inputs: Vec<Input>) {
        let mut next = Some(inputs);
        while let Some(inputs) = next {
            let out = turn_of(&mut self.node, clock(self.now), inputs);
            let appended = out.writes.append.iter().map(|entry| (entry.index, entry.clone()));
            self.appended.extend(appended);
            self.take(out);
            next = self.inputs.pop_front().map(|input| vec![input]);
        }
    }

    fn take(&mut self, out: Effects) {
        for (to, message) in out.early_sends.into_iter().chain(out.sends) {
            match message.body {
                Body::Raft(message) => self.answer(to, &message),
                body => self.said.push((self.now, to, body)),
            }
        }
        self.replies.extend(out.replies.into_iter().map(|(ticket, reply)| (ticket.0, reply)));
        self.events.extend(out.events);
    }

    /// Another voter or learner does as it is told, up to what it copies.
    fn answer(&mut self, to: NodeId, message: &eraftpb::Message) {
        if message.msg_type == MessageType::MsgTimeoutNow {
            self.successors.push(to);
        }
        if self.mute.contains(&to.0) {
            return;
        }
        let kind = match message.msg_type {
            MessageType::MsgRequestPreVote => MessageType::MsgRequestPreVoteResponse,
            MessageType::MsgRequestVote => MessageType::MsgRequestVoteResponse,
            MessageType::MsgHeartbeat => MessageType::MsgHeartbeatResponse,
            MessageType::MsgAppend => MessageType::MsgAppendResponse,
            _ => return,
        };
        let mut answer = eraftpb::Message { msg_type: kind, term: message.term, ..Default::default() };
        (answer.from, answer.to) = (to.0, message.from);
        answer.context = message.context.clone();
        if kind == MessageType::MsgAppendResponse {
            let last = self.last.entry(to.0).or_insert(BASE);
            *last = (*last).max((message.index + message.entries.len() as u64).min(self.copied));
            answer.index = *last;
        }
        self.inputs.push_back(said_by(to.0, Body::Raft(Box::new(answer))));
    }

    /// The others copy all that they have been sent, up to `index`.
    pub(crate) fn copy_up_to(&mut self, index: u64) {
        self.copied = index;
        let term = self.node.consensus().term;
        let index = index.min(self.node.consensus().last_index);
        for (id, last) in self.last.clone() {
            if !self.mute.contains(&id) && last < index {
                self.last.insert(id, index);
                let msg_type = MessageType::MsgAppendResponse;
                let answer =
                    eraftpb::Message { msg_type, term, from: id, to: ME.0, index, ..Default::default() };
                self.turn(said_by(id, Body::Raft(Box::new(answer))));
            }
        }
    }

    /// From here on nothing more is committed.
    pub(crate) fn freeze(&mut self) {
        self.copied = self.node.consensus().last_index;
    }

    pub(crate) fn thaw(&mut self) {
        self.copy_up_to(u64::MAX);
    }

    fn wake(&mut self) {
        self.now = self.now.max(self.node.deadline().expect("it waits for something"));
        self.turn(Input::Wake);
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut turns = 0;
        while self.node.deadline().is_some_and(|at| at <= end) {
            self.wake();
            turns += 1;
            assert!(turns < 10_000, "it wakes again and again");
        }
        self.now = end;
    }

    /// Lets time pass in which these hosts are heard.
    pub(crate) fn run_hearing(&mut self, span: Duration, hosts: &[u64]) {
        let end = self.now + span;
        while self.now < end {
            for id in hosts {
                let beat = self.next_beat(*id);
                self.turn(said_by(*id, Body::Heartbeat(beat)));
            }
            self.run(SECOND);
        }
    }

    /// The next heartbeat of a host that has heard the answers to all before it.
    pub(crate) fn next_beat(&mut self, host: u64) -> Heartbeat {
        let sequence = self.beats.entry(host).or_insert(0);
        *sequence += 1;
        Heartbeat {
            nonce: Nonce { process: host, sequence: *sequence },
            sent: Time(*sequence),
            set_revision: Revision(u64::MAX),
            answered: *sequence - 1,
            reports: Vec::new(),
            urgent: true,
            level: Level::NEWEST,
        }
    }

    pub(crate) fn hear(&mut self, host: u64) {
        let beat = self.next_beat(host);
        self.turn(said_by(host, Body::Heartbeat(beat)));
    }

    /// What a host was answered to its heartbeats.
    pub(crate) fn acks(&self, host: u64) -> Vec<(Time, HeartbeatAck)> {
        let ack = |(at, to, body): &(Time, NodeId, Body)| match body {
            Body::HeartbeatAck(ack) if to.0 == host => Some((*at, (**ack).clone())),
            _ => None,
        };
        self.said.iter().filter_map(ack).collect()
    }

    /// What a host was told but for answers to heartbeats, by its kind.
    pub(crate) fn told(&self, host: u64) -> Vec<&'static str> {
        let kind = |(_, to, body): &(Time, NodeId, Body)| match body {
            _ if to.0 != host => None,
            Body::NotLeader { .. } => Some("who leads"),
            Body::Joined { .. } => Some("joined"),
            Body::Refused { .. } => Some("refused"),
            Body::Nudge => Some("nudged"),
            _ => None,
        };
        self.said.iter().filter_map(kind).collect()
    }

    /// A request, to be taken in with others in one turn, and its ticket.
    pub(crate) fn request(&mut self, request: Request) -> (u64, Input) {
        self.asked += 1;
        (self.asked, Input::Request { ticket: Ticket(self.asked), request: Box::new(request) })
    }

    pub(crate) fn write(&mut self, write: Write) -> (u64, Input) {
        let id = RequestId { client: ClientId(1), sequence: self.asked + 1, born: Revision(0) };
        self.request(Request::Write { id, write })
    }

    /// Begins to hand over to voter 3, which does not stand for election: for a second the log takes nothing.
    pub(crate) fn hand_over(&mut self) {
        let request = self.request(Request::TransferLeader { to: Some(NodeId(3)) });
        assert!(matches!(self.ask(request), Some(Ok(_))), "it is a voter");
    }

    pub(crate) fn read(&mut self, read: Read) -> (u64, Input) {
        self.request(Request::Read { read, consistency: Consistency::Linearizable })
    }

    /// Asks, and what is answered in the same turn or by what the others say to it.
    pub(crate) fn ask(&mut self, (ticket, input): (u64, Input)) -> Option<Reply> {
        self.turn(input);
        self.reply(ticket)
    }

    /// The only answer to a request.
    pub(crate) fn reply(&self, ticket: u64) -> Option<Reply> {
        let mut replies = self.replies.iter().filter(|(asked, _)| *asked == ticket);
        let reply = replies.next();
        assert_eq!(replies.next(), None, "answered twice");
        reply.map(|(_, reply)| reply.clone())
    }
}

fn verb(action: &Action) -> String {
    match action {
        Action::Client { write: Write::CreateVm { .. }, .. } => "create".into(),
        Action::Client { write: Write::StartVm { .. }, .. } => "start".into(),
        Action::Client { .. } => "write".into(),
        Action::AddHost { node, .. } => format!("add {node}"),
        Action::DropHost { node } => format!("drop {node}"),
        Action::LoseHost { node } => format!("lose {node}"),
        Action::RegainHost { node } => format!("regain {node}"),
        Action::Assign { .. } => "assign".into(),
        Action::Report { node, .. } => format!("report {node}"),
        Action::RaiseLevel { to } => format!("raise {to}"),
    }
}

fn change(change: &eraftpb::ConfChangeV2) -> String {
    if change.changes.is_empty() {
        return "leave joint".into();
    }
    let each = change.changes.iter().map(|one| match one.change_type {
        eraftpb::ConfChangeType::AddNode => format!("voter {}", one.node_id),
        eraftpb::ConfChangeType::RemoveNode => format!("out {}", one.node_id),
        eraftpb::ConfChangeType::AddLearnerNode => format!("learner {}", one.node_id),
    });
    each.collect::<Vec<_>>().join(", ")
}
