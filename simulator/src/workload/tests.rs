//! The clients against one replica of the state that loses requests and answers. Their histories must pass the
//! checker, and those of a replica that forgets its sessions must not.

use blixard_node::command::{Action, Command, HostSpec, Place};
use blixard_node::config::Settings;
use blixard_node::error::RequestError;
use blixard_node::hypervisor::{Run, VmReport};
use blixard_node::ids::{ClusterId, Incarnation, Revision};
use blixard_node::request::Response;
use blixard_node::spec::{Labels, Phase, Resources, Wanted};
use blixard_node::state::State;
use blixard_node::state::scheduler::Promised;
use blixard_node::time::WallMs;

use super::*;
use crate::checkers::linearizability::vm::{VmModel, VmOp, from_operation};
use crate::checkers::linearizability::{Limits, Timed, Verdict, check_all};
use crate::history::Outcome;
use crate::scenario::Spread;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// A service that answers every request it gets, some of them never.
struct Service {
    state: State,
    rng: Rng,
    loss: Chance,
    forgets_sessions: bool,
    /// Requests and answers under way, by when they arrive.
    wire: BTreeMap<(Time, u64), Parcel>,
    sent: u64,
}

enum Parcel {
    Request(Call),
    Reply(Ticket, Reply),
}

impl Service {
    fn new(seed: u64, loss: Chance, forgets_sessions: bool) -> Self {
        let mut service = Self {
            state: State::new(ClusterId(1), Settings::default(), Revision(0)),
            rng: Rng::new(seed, 99),
            loss,
            forgets_sessions,
            wire: BTreeMap::new(),
            sent: 0,
        };
        let host = HostSpec {
            address: "here".into(),
            capacity: Resources { vcpus: 16, memory_mib: 20_000 },
            labels: Labels::from([("hypervisor.sim".into(), "true".into())]),
        };
        service.apply(Action::AddHost { node: NODES[0], incarnation: Incarnation(1), host });
        service
    }

    fn send(&mut self, now: Time, parcel: Parcel) {
        if self.loss.draw(&mut self.rng) {
            return;
        }
        let at = now + Spread::millis(1, 400).draw(&mut self.rng);
        self.sent += 1;
        self.wire.insert((at, self.sent), parcel);
    }

    fn apply(&mut self, action: Action) -> Option<Reply> {
        let revision = Revision(self.state.revision.0 + 1);
        let applied = self.state.apply(revision, &Command { at: WallMs(1), action });
        let answer = applied.answer?;
        Some(answer.map(|(revision, generation)| Response::Written { revision, generation }))
    }

    fn serve(&mut self, request: &Request) -> Reply {
        match request {
            Request::Write { id, write } => {
                let place = match write {
                    Write::StartVm { name, .. } => self.place(name),
                    _ => Place::Unneeded,
                };
                if self.forgets_sessions {
                    self.state.sessions = Default::default();
                }
                let action = Action::Client { id: *id, write: write.clone(), place };
                self.apply(action).expect("placed on the state at hand")
            }
            Request::Read { read: Read::GetVm { name }, .. } => match self.state.vms.get(name) {
                Some(vm) => Ok(Response::Vm { revision: self.state.revision, vm: Box::new(vm.view()) }),
                None => Err(RequestError::VmUnknown { name: name.clone() }),
            },
            Request::Read { .. } => {
                let vms = self.state.vms.values().map(|vm| vm.view()).collect();
                Ok(Response::Vms { revision: self.state.revision, vms })
            }
            Request::TransferLeader { .. } => Err(RequestError::NoLeader),
        }
    }

    fn place(&self, name: &VmName) -> Place {
        let Some(vm) = self.state.vms.get(name) else { return Place::Unneeded };
        match self.state.place(vm, &Promised::new()) {
            Ok(node) => Place::On(node),
            Err(hosts) => Place::Nowhere(hosts),
        }
    }

    /// The agent confirms one stop, if any is due.
    fn confirm(&mut self) {
        let due = |vm: &&blixard_node::state::Vm| vm.wanted == Wanted::Stopped && vm.assigned.is_some();
        let Some(vm) = self.state.vms.values().find(due) else { return };
        let Some((node, epoch)) = vm.assigned else { return };
        let run = Run { vm: vm.id, epoch };
        let (phase, reason) = (Phase::Stopped, String::new());
        let report = VmReport { run, generation: vm.generation, phase, reason, restarts: 0, artifact: None };
        self.apply(Action::Report { node, reports: vec![report] });
    }
}

/// Runs clients for `secs` virtual seconds, then lets them end.
fn run(config: &WorkloadConfig, seed: u64, secs: u64, service: &mut Service) -> (Workload, Output) {
    let mut workload = Workload::new(config.clone(), seed, Time(0), &[]);
    let mut out = Output::default();
    let end = Time(Duration::from_secs(secs).0);
    let mut stopped = false;
    loop {
        let parcel = service.wire.first_key_value().map(|((at, _), _)| *at);
        let Some(now) = parcel.into_iter().chain(workload.next_wake()).min() else { break };
        if now >= end && !stopped {
            workload.stop();
            stopped = true;
            continue;
        }
        if parcel == Some(now) {
            match service.wire.pop_first().expect("it is there").1 {
                Parcel::Request(call) => {
                    let reply = service.serve(&call.request);
                    service.send(now, Parcel::Reply(call.ticket, reply));
                    if service.rng.ratio(1, 3) {
                        service.confirm();
                    }
                }
                Parcel::Reply(ticket, reply) => workload.on_reply(now, ticket, reply, &mut out),
            }
        } else {
            workload.on_wake(now, &NODES, &mut out);
        }
        for call in out.calls.drain(..) {
            service.send(now, Parcel::Request(call));
        }
    }
    workload.finish(end, &mut out);
    (workload, out)
}

fn check(operations: &[Operation]) -> Result<(), (VmName, Verdict)> {
    let mut histories: BTreeMap<VmName, Vec<Timed<VmOp>>> = BTreeMap::new();
    for operation in operations {
        if let Some((name, timed)) = from_operation(operation).expect("an answer that fits") {
            histories.entry(name).or_default().push(timed);
        }
    }
    let slices = histories.iter().map(|(name, history)| (name.clone(), history.as_slice()));
    check_all(&VmModel, slices, Limits::default())
}

#[test]
fn clients_keep_their_rate_and_ask_all_kinds() {
    let mut service = Service::new(1, Chance::NEVER, false);
    let (workload, out) = run(&WorkloadConfig::default(), 1, 100, &mut service);
    assert_eq!(workload.busy(), 0);
    let count = out.finished.len();
    assert!((850..1_050).contains(&count), "10 a second: {count}");
    for kind in ["create", "start", "stop", "delete", "get", "list"] {
        assert!(workload.counts().contains_key(&(kind, "ok")), "{kind}: {:?}", workload.counts());
    }
    assert!(out.finished.iter().all(|operation| matches!(operation.outcome, Outcome::Answered(_))));
    assert_eq!(check(&out.finished), Ok(()));
}

#[test]
fn retries_under_one_id_keep_histories_linearizable() {
    let mut unknown = 0;
    for seed in 0..10 {
        let mut service = Service::new(seed, Chance::one_in(4), false);
        let (_, out) = run(&WorkloadConfig::default(), seed, 300, &mut service);
        assert_eq!(out.contradictions, [], "seed {seed}");
        assert_eq!(check(&out.finished), Ok(()), "seed {seed}");
        assert!(out.finished.iter().any(|operation| operation.attempts > 1));
        unknown += out.finished.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
    }
    assert!(unknown > 0, "some clients give up");
}

#[test]
fn a_service_without_sessions_is_found() {
    let mut found = 0;
    for seed in 0..10 {
        let mut service = Service::new(seed, Chance::one_in(4), true);
        let (_, out) = run(&WorkloadConfig::default(), seed, 300, &mut service);
        found += u32::from(check(&out.finished).is_err());
    }
    assert_eq!(found, 10, "each of these runs has a retry that took effect twice");
}

#[test]
fn the_same_seed_asks_the_same() {
    let ask = |seed| {
        run(&WorkloadConfig::default(), seed, 50, &mut Service::new(3, Chance::one_in(10), false)).1.finished
    };
    assert_eq!(ask(7), ask(7));
    assert_ne!(ask(7), ask(8));
}

#[test]
fn without_answers_clients_give_up_and_do_not_know() {
    let mut service = Service::new(1, Chance::one_in(1), false);
    let (_, out) = run(&WorkloadConfig::default(), 1, 60, &mut service);
    assert!(out.finished.iter().all(|operation| operation.outcome == Outcome::Unknown));
    let patience = Patience::default();
    for operation in &out.finished {
        let took = operation.ended.at.since(operation.invoked.at);
        let most = patience.give_up_after + patience.attempt_timeout + patience.backoff.max;
        assert!(took <= most, "{took}");
    }
}

#[test]
fn a_refusal_without_effect_is_told_from_an_unknown_outcome() {
    let mut workload =
        Workload::new(WorkloadConfig { clients: 1, ..WorkloadConfig::default() }, 1, Time(0), &[]);
    let mut out = Output::default();
    while out.finished.is_empty() {
        let now = workload.next_wake().expect("it goes on");
        workload.on_wake(now, &NODES, &mut out);
        for call in std::mem::take(&mut out.calls) {
            workload.on_reply(now, call.ticket, Err(RequestError::NoLeader), &mut out);
        }
    }
    assert_eq!(out.finished[0].outcome, Outcome::Refused);
    assert!(out.finished[0].attempts > 10);
    out.finished.clear();
    let mut first = true;
    while out.finished.is_empty() {
        let now = workload.next_wake().expect("it goes on");
        workload.on_wake(now, &NODES, &mut out);
        for call in std::mem::take(&mut out.calls) {
            let unknown = RequestError::Unknown { reason: "the leader went".into() };
            let error = if std::mem::take(&mut first) { unknown } else { RequestError::NoLeader };
            workload.on_reply(now, call.ticket, Err(error), &mut out);
        }
    }
    assert_eq!(out.finished[0].outcome, Outcome::Unknown, "the first attempt may yet take effect");
}

#[test]
fn two_answers_to_one_write_are_told() {
    let mix = Mix { create: 1, start: 0, stop: 0, delete: 0, update: 0, get: 0, list: 0 };
    let mut workload =
        Workload::new(WorkloadConfig { clients: 1, mix, ..WorkloadConfig::default() }, 1, Time(0), &[]);
    let mut out = Output::default();
    let mut calls = Vec::new();
    while calls.len() < 2 {
        let now = workload.next_wake().expect("it goes on");
        workload.on_wake(now, &NODES, &mut out);
        calls.append(&mut out.calls);
    }
    let now = workload.next_wake().expect("it goes on");
    let written = |revision| {
        Ok(Response::Written { revision: Revision(revision), generation: blixard_node::ids::Generation(1) })
    };
    workload.on_reply(now, calls[1].ticket, written(5), &mut out);
    workload.on_reply(now, calls[0].ticket, written(5), &mut out);
    assert_eq!((out.finished.len(), out.contradictions.len()), (1, 0));
    workload.on_reply(now, calls[0].ticket, written(6), &mut out);
    assert_eq!(out.contradictions.len(), 1);
}

#[test]
fn an_expired_session_is_renewed_and_its_request_unknown() {
    let mut workload =
        Workload::new(WorkloadConfig { clients: 1, ..WorkloadConfig::default() }, 1, Time(0), &[]);
    let mut out = Output::default();
    let mut ids = Vec::new();
    while ids.len() < 2 {
        let now = workload.next_wake().expect("it goes on");
        workload.on_wake(now, &NODES, &mut out);
        for call in std::mem::take(&mut out.calls) {
            if let Request::Write { id, .. } = call.request {
                ids.push(id);
                let expired = Err(RequestError::SessionExpired { floor: Revision(70) });
                workload.on_reply(now, call.ticket, expired, &mut out);
            } else {
                workload.on_reply(
                    now,
                    call.ticket,
                    Err(RequestError::VmUnknown { name: workload.names[0].clone() }),
                    &mut out,
                );
            }
        }
    }
    assert_ne!(ids[0].client, ids[1].client);
    assert_eq!((ids[1].sequence, ids[1].born), (1, Revision(70)));
    assert!(out.finished.iter().any(|operation| operation.outcome == Outcome::Unknown));
}

#[test]
fn probes_are_retried_until_answered() {
    let mut workload = Workload::new(WorkloadConfig::default(), 1, Time(0), &[]);
    let mut out = Output::default();
    workload.stop();
    assert_eq!(workload.next_wake(), None);
    workload.probe(Time(1), &NODES, &mut out);
    assert_eq!((out.calls.len(), workload.busy()), (4, 4));
    let mut service = Service::new(1, Chance::NEVER, false);
    let mut refused = 0;
    let mut calls = std::mem::take(&mut out.calls);
    let mut now = Time(1);
    loop {
        for call in calls.drain(..) {
            let reply = if refused < 4 { Err(RequestError::NoLeader) } else { service.serve(&call.request) };
            refused += 1;
            workload.on_reply(now, call.ticket, reply, &mut out);
        }
        let Some(next) = workload.next_wake() else { break };
        now = next;
        workload.on_wake(now, &NODES, &mut out);
        calls.append(&mut out.calls);
    }
    assert_eq!((out.finished.len(), workload.busy()), (4, 0));
    assert_eq!(service.state.vms.len(), 1, "the write took effect");
}
