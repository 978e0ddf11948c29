//! The simulated clients together: what they ask, how often, and what came of it.

pub(crate) mod draw;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use blixard_node::ids::{NodeId, Ticket};
use blixard_node::request::{Read, Reply, Request, Write};
use blixard_node::rng::Rng;
use blixard_node::spec::VmName;
use blixard_node::time::{Duration, Time};

pub use crate::client::{Call, Patience, TwoAnswers};
pub use draw::PORTS;

use crate::client::{Client, Shared, Step};
use crate::history::{Moment, Operation};
use crate::scenario::{self, Chance};
use crate::world::streams;

/// How often each operation is drawn, against the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Lists a new VM.
    pub create: u64,
    /// Wants one running.
    pub start: u64,
    /// Wants one stopped.
    pub stop: u64,
    /// Removes one.
    pub delete: u64,
    /// Gives one another spec.
    pub update: u64,
    /// Looks at one.
    pub get: u64,
    /// Looks at all.
    pub list: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Self { create: 2, start: 3, stop: 2, delete: 1, update: 0, get: 4, list: 1 }
    }
}

/// What the clients do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadConfig {
    /// Clients, each with one operation under way at most.
    pub clients: usize,
    /// Operations begun by all of them together in `per`, as long as none of them has to wait.
    pub operations: u64,
    /// The span that `operations` counts for.
    pub per: Duration,
    /// The VM names in use: `vm-0`, `vm-1`, ….
    pub names: u64,
    /// Which operations.
    pub mix: Mix,
    /// Writes that carry the generation their client knows.
    pub with_generation: Chance,
    /// Timeouts and retries.
    pub patience: Patience,
    /// The specs' backend.
    pub hypervisor: String,
    /// The most CPUs of a VM.
    pub vcpus_max: u32,
    /// The most memory of a VM, in MiB; drawn in 16 steps.
    pub memory_mib_max: u64,
    /// VMs whose restart policy is not `Always`.
    pub restart_seldom: Chance,
    /// VMs that wait for a lost host.
    pub failover_waits: Chance,
    /// VMs with a volume on their host.
    pub local_volume: Chance,
    /// VMs with a port of their host, one of [`PORTS`].
    pub ports: Chance,
    /// How often a deletion leaves the VM's volumes.
    pub keep_volumes: Chance,
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Self {
            clients: 5,
            operations: 10,
            per: Duration::from_secs(1),
            names: 20,
            mix: Mix::default(),
            with_generation: Chance::one_in(4),
            patience: Patience::default(),
            hypervisor: "sim".into(),
            vcpus_max: 4,
            memory_mib_max: 4_096,
            restart_seldom: Chance::NEVER,
            failover_waits: Chance::NEVER,
            local_volume: Chance::NEVER,
            ports: Chance::NEVER,
            keep_volumes: Chance::NEVER,
        }
    }
}

/// What a call of the workload led to. The caller empties it.
#[derive(Debug, Default)]
pub struct Output {
    /// Requests to be sent.
    pub calls: Vec<Call>,
    /// Operations that have ended, in the order of their ends.
    pub finished: Vec<Operation>,
    /// Requests that got two different final answers: a violation of exactly-once.
    pub contradictions: Vec<TwoAnswers>,
}

/// All clients.
#[derive(Debug)]
pub struct Workload {
    config: WorkloadConfig,
    seed: u64,
    names: Vec<VmName>,
    clients: Vec<Client>,
    /// What each client has still to do, where that is not drawn.
    script: Option<Vec<VecDeque<scenario::Operation>>>,
    /// Operations that each client has begun.
    begun: Vec<u64>,
    /// All operations that were begun, with what was drawn for them.
    recorded: Vec<scenario::Operation>,
    from: Time,
    shared: Shared,
    /// When each client wants to be woken.
    wakes: BTreeSet<(Time, usize)>,
    planned: Vec<Option<Time>>,
    /// Which client's each attempt is; attempts answered or long forgotten are gone.
    tickets: BTreeMap<Ticket, usize>,
    stopped: bool,
    probes: usize,
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

/// Attempts whose answers are still told apart from strangers'.
const TICKETS_MAX: usize = 4_096;

impl Workload {
    /// Clients that begin at true time `from`. They do what `script` says, or draw what they do when it is empty.
    #[must_use]
    pub fn new(config: WorkloadConfig, seed: u64, from: Time, script: &[scenario::Operation]) -> Self {
        let names = (0..config.names).filter_map(|number| VmName::new(format!("vm-{number}")).ok()).collect();
        let shared = Shared {
            patience: config.patience.clone(),
            next_ticket: 1,
            order: 0,
            floor: blixard_node::ids::Revision(0),
        };
        let mut workload = Self {
            seed,
            names,
            clients: Vec::new(),
            script: (!script.is_empty()).then(|| by_client(config.clients, script)),
            begun: vec![0; config.clients],
            recorded: Vec::new(),
            from,
            shared,
            wakes: BTreeSet::new(),
            planned: Vec::new(),
            tickets: BTreeMap::new(),
            stopped: false,
            probes: 0,
            counts: BTreeMap::new(),
            config,
        };
        for number in 0..workload.config.clients {
            let rng = Rng::new(seed, streams::CLIENTS | number as u64);
            workload.clients.push(Client::new(number, rng, from));
            workload.planned.push(None);
            workload.rest(number, from, from);
            workload.plan(number);
        }
        workload
    }

    /// When [`Self::on_wake`] is due.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Operations that have ended, by kind and outcome.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.counts
    }

    /// All operations that clients have begun, each with what was drawn for it.
    #[must_use]
    pub fn recorded(&self) -> &[scenario::Operation] {
        &self.recorded
    }

    /// Clients that wait for an answer.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.clients.iter().filter(|client| client.is_busy()).count()
    }

    /// Does what is due at true time `now`. `nodes` are those a client may ask, whether they answer or not.
    pub fn on_wake(&mut self, now: Time, nodes: &[NodeId], out: &mut Output) {
        while let Some((at, number)) = self.wakes.first().copied()
            && at <= now
        {
            self.wakes.pop_first();
            self.planned[number] = None;
            if self.clients[number].is_idle() {
                self.begin(now, number, nodes, out);
            } else {
                let step = self.clients[number].wake(now, &mut self.shared, nodes);
                self.take(now, number, step, out);
            }
            self.plan(number);
        }
    }

    /// A node answered.
    pub fn on_reply(&mut self, now: Time, ticket: Ticket, reply: Reply, out: &mut Output) {
        self.answered(now, ticket, Some(reply), out);
    }

    /// The connection over which `ticket` was asked broke: no answer will come, whether it took effect is open. The
    /// world need not tell this; the client's timeout does as well.
    pub fn on_disconnect(&mut self, now: Time, ticket: Ticket, out: &mut Output) {
        self.answered(now, ticket, None, out);
    }

    /// From now on no client begins an operation; those under way go on.
    pub fn stop(&mut self) {
        self.stopped = true;
        for number in 0..self.clients.len() {
            self.clients[number].retire();
            self.plan(number);
        }
    }

    /// Ends the history: what is under way becomes unknown.
    pub fn finish(&mut self, now: Time, out: &mut Output) {
        for number in 0..self.clients.len() {
            if let Some(operation) = self.clients[number].abandon(now, &mut self.shared) {
                self.count(&operation);
                out.finished.push(operation);
            }
            self.clients[number].retire();
            self.plan(number);
        }
    }

    /// Begins probes on behalf of fresh clients, as after [`Self::stop`]: a linearizable list at each of `nodes`, and
    /// the creation of a VM `probe-N` that is never started at the first of them. They are retried at `nodes` drawn by
    /// [`Self::on_wake`]'s caller; they are done when [`Self::busy`] is 0.
    pub fn probe(&mut self, now: Time, nodes: &[NodeId], out: &mut Output) {
        for node in nodes {
            let (number, rng) = self.add_prober();
            let call = self.clients[number].begin(now, &mut self.shared, draw::list(), *node, rng);
            self.sent(number, call, out);
        }
        if let Some(node) = nodes.first() {
            let (number, mut rng) = self.add_prober();
            let name = VmName::new(format!("probe-{}", self.probes));
            self.probes += 1;
            if let Ok(name) = name {
                let spec = draw::spec(&self.config, &mut rng);
                let id = self.clients[number].next_id();
                let request = Request::Write { id, write: Write::CreateVm { name, spec } };
                let call = self.clients[number].begin(now, &mut self.shared, request, *node, rng);
                self.sent(number, call, out);
            }
        }
    }

    /// The next moment of the clients' order, for operations that the world itself carries out.
    pub fn moment(&mut self, now: Time) -> Moment {
        self.shared.moment(now)
    }

    fn add_prober(&mut self) -> (usize, Rng) {
        let number = self.clients.len();
        let stream =
            |which: u64| streams::PROBERS | streams::nth((number - self.config.clients) as u64, which);
        let mut client = Client::new(number, Rng::new(self.seed, stream(0)), Time(0));
        client.born_at(self.shared.floor);
        self.clients.push(client);
        self.planned.push(None);
        (number, Rng::new(self.seed, stream(1)))
    }

    fn begin(&mut self, now: Time, number: usize, nodes: &[NodeId], out: &mut Output) {
        if nodes.is_empty() {
            let until = now + self.config.patience.backoff.max;
            return self.clients[number].rest(until);
        }
        let scripted = self.script.as_mut().map(|script| script[number].pop_front());
        if scripted == Some(None) {
            return self.clients[number].retire();
        }
        let scripted = scripted.flatten();
        let draws =
            scripted.as_ref().map_or(streams::nth(number as u64, self.begun[number]), |known| known.draws);
        self.begun[number] += 1;
        let mut rng = Rng::new(self.seed, streams::OPERATIONS | draws);
        // Everything is drawn, also what the script says: so the rest of the stream stays where it is.
        let drawn = rng.pick(nodes).copied().unwrap_or(nodes[0]);
        let (call, vm) = draw::call(&self.config, self.names.len(), &mut rng);
        let (to, call, vm) = match &scripted {
            None => (drawn, call, vm),
            Some(known) => {
                let named = nodes.iter().copied().find(|node| node.0 == known.node);
                (named.unwrap_or(drawn), known.call, known.vm as usize)
            }
        };
        let client = &mut self.clients[number];
        let request = draw::request(&self.config, call, self.names[vm].clone(), client, &mut rng);
        let at = Duration(now.0 - self.from.0);
        let (node, vm, client_number) = (to.0, vm as u64, number as u64);
        self.recorded.push(scenario::Operation { at, client: client_number, node, call, vm, draws });
        let call = client.begin(now, &mut self.shared, request, to, rng);
        self.sent(number, call, out);
    }

    /// Lets a client rest until its next operation; its last one began at `last`.
    fn rest(&mut self, number: usize, last: Time, now: Time) {
        let client = &mut self.clients[number];
        let until = match &self.script {
            None => last + draw::think(&self.config, client.rng()),
            Some(script) => match script[number].front() {
                Some(next) => self.from + next.at,
                None => return client.retire(),
            },
        };
        client.rest(until.max(now));
    }

    fn answered(&mut self, now: Time, ticket: Ticket, reply: Option<Reply>, out: &mut Output) {
        let Some(number) = self.tickets.get(&ticket).copied() else { return };
        let step = self.clients[number].answered(now, &mut self.shared, ticket, reply);
        self.take(now, number, step, out);
        self.plan(number);
    }

    fn take(&mut self, now: Time, number: usize, step: Step, out: &mut Output) {
        if let Some(call) = step.call {
            self.sent(number, call, out);
        }
        if let Some(operation) = step.finished {
            self.count(&operation);
            if number < self.config.clients {
                self.rest(number, operation.invoked.at, now);
            }
            out.finished.push(operation);
            if self.stopped {
                self.clients[number].retire();
            }
        }
        if let Some(contradiction) = step.contradiction {
            out.contradictions.push(*contradiction);
        }
    }

    fn sent(&mut self, number: usize, call: Call, out: &mut Output) {
        self.tickets.insert(call.ticket, number);
        if self.tickets.len() > TICKETS_MAX {
            self.tickets.pop_first();
        }
        out.calls.push(call);
        self.plan(number);
    }

    fn plan(&mut self, number: usize) {
        let wanted = self.clients[number].wake_at();
        let planned = &mut self.planned[number];
        if *planned == wanted {
            return;
        }
        if let Some(at) = planned.take() {
            self.wakes.remove(&(at, number));
        }
        if let Some(at) = wanted {
            self.wakes.insert((at, number));
        }
        *planned = wanted;
    }

    fn count(&mut self, operation: &Operation) {
        *self.counts.entry((kind_of(&operation.request), operation.outcome.name())).or_default() += 1;
    }
}

/// The operations of each client, in their order.
fn by_client(clients: usize, script: &[scenario::Operation]) -> Vec<VecDeque<scenario::Operation>> {
    let mut each = vec![VecDeque::new(); clients];
    for operation in script {
        if let Some(client) = each.get_mut(operation.client as usize) {
            client.push_back(operation.clone());
        }
    }
    for operations in &mut each {
        operations.make_contiguous().sort_by_key(|operation| operation.at);
    }
    each
}

/// A short name of what is asked.
#[must_use]
pub fn kind_of(request: &Request) -> &'static str {
    match request {
        Request::Write { write, .. } => match write {
            Write::CreateVm { .. } => "create",
            Write::StartVm { .. } => "start",
            Write::StopVm { .. } => "stop",
            Write::DeleteVm { .. } => "delete",
            Write::CordonHost { .. } => "cordon",
            Write::RemoveHost { .. } => "remove-host",
            Write::UpdateVm { .. } => "update",
        },
        Request::Read { read, .. } => match read {
            Read::GetVm { .. } => "get",
            Read::ListVms => "list",
            Read::VmEvents { .. } => "events",
            Read::ClusterStatus => "status",
        },
        Request::TransferLeader { .. } => "transfer-leader",
    }
}

#[cfg(test)]
mod tests;
