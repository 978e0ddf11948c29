//! A host alone: the test is its leader and its hypervisor, and decides what each of them says, and when.

use std::collections::VecDeque;

use blixard_node::Node;
use blixard_node::config::RaftConfig;
use blixard_node::effects::{Effects, Event};
use blixard_node::hypervisor::{
    Done, Exit, HypervisorError, HypervisorRequest, Run, RunState, RunView, VmEvent, VmReport,
};
use blixard_node::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, OpId, Revision, Ticket, VmId};
use blixard_node::input::Input;
use blixard_node::level::Level;
use blixard_node::message::{Assignment, Body, Heartbeat, HeartbeatAck, Message};
use blixard_node::probes::Probe;
use blixard_node::request::{Reply, Request};
use blixard_node::spec::Wanted;
use blixard_node::stored::{AgentRecord, Identity, Stored};
use blixard_node::time::{Duration, Time};

use crate::cluster::{clock, config, name, spec, turn_of};

pub(crate) const CLUSTER: ClusterId = ClusterId(7);
/// The host.
pub(crate) const ME: NodeId = NodeId(9);
const START: Time = Time(1_000_000_000_000);
/// The length of the leases that it is granted.
pub(crate) const TTL: Duration = Duration::from_secs(8);

pub(crate) struct Host {
    node: Node,
    pub(crate) disk: Stored,
    pub(crate) now: Time,
    /// The member that answers heartbeats at once, as a leader does, with the set when it has changed.
    pub(crate) leads: Option<NodeId>,
    revision: Revision,
    set: Vec<Assignment>,
    /// What the hypervisor answers at once when it is asked what it runs.
    pub(crate) listed: Option<Vec<RunView>>,
    pub(crate) beats: Vec<(Time, NodeId, Heartbeat)>,
    /// All else that it says to members.
    pub(crate) said: Vec<(NodeId, Body)>,
    /// What it asks of its hypervisor, but lists and extensions.
    pub(crate) asked: Vec<(OpId, HypervisorRequest)>,
    pub(crate) lists: Vec<(Time, OpId)>,
    pub(crate) extended: Vec<(Vec<Run>, Time)>,
    pub(crate) events: Vec<Event>,
    pub(crate) directory: Option<Vec<(NodeId, String)>>,
    pub(crate) replies: Vec<Reply>,
    read: usize,
    inputs: VecDeque<Input>,
}

pub(crate) fn members(ids: &[u64]) -> Vec<(NodeId, String)> {
    ids.iter().map(|id| (NodeId(*id), format!("host{id}:7001"))).collect()
}

pub(crate) fn run(vm: u64, epoch: u64) -> Run {
    Run { vm: VmId(vm), epoch: Epoch(epoch) }
}

pub(crate) fn running(vm: u64, epoch: u64) -> RunView {
    RunView { run: run(vm, epoch), state: RunState::Running }
}

/// A VM that is to run.
pub(crate) fn wanted(vm: u64, epoch: u64) -> Assignment {
    Assignment {
        run: run(vm, epoch),
        name: name(&format!("vm{vm}")),
        generation: Generation(1),
        wanted: Wanted::Running,
        spec: spec(),
        artifact: None,
        purge: false,
    }
}

/// The same VM, to be stopped.
pub(crate) fn unwanted(vm: u64, epoch: u64) -> Assignment {
    Assignment { wanted: Wanted::Stopped, generation: Generation(2), ..wanted(vm, epoch) }
}

pub(crate) fn prepared() -> Result<Done, HypervisorError> {
    Ok(Done::Prepared { artifact: None })
}

impl Host {
    /// A member that knows three others, of which none says anything, and whose hypervisor says nothing.
    pub(crate) fn open() -> Self {
        Self::knowing(&[1, 2, 3])
    }

    pub(crate) fn knowing(ids: &[u64]) -> Self {
        let identity = Identity { cluster: CLUSTER, node: ME, incarnation: Incarnation(5) };
        let agent = AgentRecord { set_revision: Revision(10), members: members(ids) };
        Self::on(Stored { identity: Some(identity), agent, ..Stored::default() }, START, 1)
    }

    /// A process on this disk, and taken in.
    pub(crate) fn on(disk: Stored, now: Time, seed: u64) -> Self {
        let mut host = Self::asking(disk, now, seed, &[]);
        host.deliver(1, Body::Joined { members: Vec::new() });
        host
    }

    /// One without a cluster.
    pub(crate) fn newcomer(peers: &[u64]) -> Self {
        Self::asking(Stored::default(), START, 1, peers)
    }

    /// A process on this disk that has not been taken in yet.
    pub(crate) fn asking(disk: Stored, now: Time, seed: u64, peers: &[u64]) -> Self {
        let config = config(ME.0, &RaftConfig::default(), peers);
        let node = Node::open(config, seed, disk.clone(), clock(now)).unwrap();
        Self {
            node,
            disk,
            now,
            leads: None,
            revision: Revision(10),
            set: Vec::new(),
            listed: None,
            beats: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
            lists: Vec::new(),
            extended: Vec::new(),
            events: Vec::new(),
            directory: None,
            replies: Vec::new(),
            read: 0,
            inputs: VecDeque::new(),
        }
    }

    /// One whose leader is member 1 and answers, and whose hypervisor runs nothing and says so.
    pub(crate) fn led() -> Self {
        let mut host = Self::open();
        host.leads = Some(NodeId(1));
        host.listed = Some(Vec::new());
        host.run(Duration::from_millis(2_500));
        host
    }

    /// One that runs the VM 1 for as long as its hypervisor is told nothing else.
    pub(crate) fn running(assignment: Assignment) -> Self {
        let mut host = Self::led();
        let alive = RunView { run: assignment.run, state: RunState::Running };
        host.assign(vec![assignment]);
        host.answer(prepared());
        host.answer(Ok(Done::Started));
        host.listed = Some(vec![alive]);
        host.asks();
        host
    }

    pub(crate) fn turn(&mut self, input: Input) {
        self.turn_of(vec![input]);
    }

    /// One turn of all of these, and what the leader and the hypervisor have to say to it.
    pub(crate) fn turn_of(&mut self, inputs: Vec<Input>) {
        let mut next = Some(inputs);
        while let Some(inputs) = next {
            let out = turn_of(&mut self.node, clock(self.now), inputs);
            self.disk.apply(&out.writes);
            self.take(out);
            next = self.inputs.pop_front().map(|input| vec![input]);
        }
    }

    fn take(&mut self, out: Effects) {
        for (to, message) in out.sends {
            match message.body {
                Body::Heartbeat(beat) => {
                    if self.leads == Some(to) {
                        let ack = self.ack(&beat);
                        self.inputs.push_back(said_by(to.0, Body::HeartbeatAck(Box::new(ack))));
                    }
                    self.beats.push((self.now, to, beat));
                }
                body => self.said.push((to, body)),
            }
        }
        for (op, request) in out.hypervisor {
            match request {
                HypervisorRequest::List => {
                    let listed = self.listed.clone().map(|views| Ok(Done::Listed(views)));
                    self.inputs.extend(listed.map(|result| Input::HypervisorDone { op, result }));
                    self.lists.push((self.now, op));
                }
                HypervisorRequest::Extend { runs, deadline } => self.extended.push((runs, deadline)),
                request => self.asked.push((op, request)),
            }
        }
        self.events.extend(out.events);
        self.replies.extend(out.replies.into_iter().map(|(_, reply)| reply));
        self.directory = out.directory.or(self.directory.take());
    }

    /// What a leader grants for this heartbeat.
    pub(crate) fn ack(&self, beat: &Heartbeat) -> HeartbeatAck {
        HeartbeatAck {
            nonce: beat.nonce,
            sent: beat.sent,
            ttl: TTL,
            revision: self.revision,
            set: (beat.set_revision < self.revision).then(|| self.set.clone()),
            members: Vec::new(),
            level: Some(Level::FIRST),
        }
    }

    pub(crate) fn deliver(&mut self, from: u64, body: Body) {
        self.turn(said_by(from, body));
    }

    /// What is said in another cluster's name, or in none's.
    pub(crate) fn deliver_of(&mut self, cluster: ClusterId, from: u64, body: Body) {
        let message = Message { cluster, from: NodeId(from), incarnation: Incarnation(from), body };
        self.turn(Input::Deliver(Box::new(message)));
    }

    pub(crate) fn acknowledge(&mut self, from: u64, ack: HeartbeatAck) {
        self.deliver(from, Body::HeartbeatAck(Box::new(ack)));
    }

    pub(crate) fn not_leader(&mut self, from: u64, leader: Option<u64>, others: &[u64]) {
        self.deliver(from, Body::NotLeader { leader: leader.map(NodeId), members: members(others) });
    }

    pub(crate) fn request(&mut self, request: Request) -> Option<Reply> {
        self.replies.clear();
        self.turn(Input::Request { ticket: Ticket(1), request: Box::new(request) });
        self.replies.pop()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut turns = 0;
        while let Some(at) = self.node.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.turn(Input::Wake);
            turns += 1;
            assert!(turns < 50_000, "it wakes again and again");
        }
        self.now = end;
    }

    /// Changes the set and tells the host.
    pub(crate) fn assign(&mut self, set: Vec<Assignment>) {
        self.revision.0 += 1;
        self.set = set;
        self.deliver(1, Body::Nudge);
        self.run(Duration::from_millis(50));
    }

    /// Answers what was asked of the hypervisor last.
    pub(crate) fn answer(&mut self, result: Result<Done, HypervisorError>) {
        let (op, _) = *self.asked.last().expect("something was asked");
        self.complete(op, result);
    }

    pub(crate) fn complete(&mut self, op: OpId, result: Result<Done, HypervisorError>) {
        self.turn(Input::HypervisorDone { op, result });
    }

    pub(crate) fn exits(&mut self, run: Run, exit: Exit, reason: &str) {
        self.turn(exited(run, exit, reason));
    }

    /// What was asked of the hypervisor since this was looked at last.
    pub(crate) fn asks(&mut self) -> Vec<String> {
        let new = self.asked[self.read..].iter().map(|(_, request)| verb(request)).collect();
        self.read = self.asked.len();
        new
    }

    /// What it tells its leader of a VM.
    pub(crate) fn reports(&mut self, vm: u64) -> VmReport {
        self.deliver(1, Body::Nudge);
        self.run(Duration::from_millis(25));
        let (_, _, beat) = self.beats.last().unwrap();
        beat.reports.iter().find(|report| report.run.vm == VmId(vm)).expect("it is reported").clone()
    }

    /// Whom its newest heartbeat went to.
    pub(crate) fn asked_member(&self) -> u64 {
        self.beats.last().unwrap().1.0
    }

    pub(crate) fn beat(&self) -> Heartbeat {
        self.beats.last().unwrap().2.clone()
    }

    pub(crate) fn lease_end(&self) -> Option<Time> {
        self.node.lease_end()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.node.set_revision()
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.node.is_joined()
    }

    /// Whom it has asked to be taken in.
    pub(crate) fn asked_to_join(&self) -> Vec<u64> {
        let joins = self.said.iter().filter(|(_, body)| matches!(body, Body::Join(_)));
        joins.map(|(to, _)| to.0).collect()
    }

    pub(crate) fn has(&self, probe: Probe) -> bool {
        self.node.probes().has(probe)
    }
}

pub(crate) fn exited(run: Run, exit: Exit, reason: &str) -> Input {
    Input::HypervisorEvent { run, event: VmEvent::Exited { exit, reason: reason.into() } }
}

fn said_by(from: u64, body: Body) -> Input {
    let message = Message { cluster: CLUSTER, from: NodeId(from), incarnation: Incarnation(from), body };
    Input::Deliver(Box::new(message))
}

fn verb(request: &HypervisorRequest) -> String {
    let told = |verb: &str, run: &Run| format!("{verb} {}/{}", run.vm.0, run.epoch.0);
    match request {
        HypervisorRequest::Prepare { run, .. } => told("prepare", run),
        HypervisorRequest::Start { run, .. } => told("start", run),
        HypervisorRequest::Stop { run, .. } => told("stop", run),
        HypervisorRequest::Kill { run } => told("kill", run),
        HypervisorRequest::Purge { run, .. } => told("purge", run),
        other => format!("{other:?}"),
    }
}
