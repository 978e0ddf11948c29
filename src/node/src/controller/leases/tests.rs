use std::sync::Arc;

use super::*;
use crate::command::HostSpec;
use crate::config::NodeConfig;
use crate::context::Me;
use crate::effects::Effects;
use crate::hypervisor::Run;
use crate::ids::{ClusterId, Epoch, Generation, Incarnation, VmId};
use crate::probes::Probes;
use crate::spec::{FailoverPolicy, Phase, Resources, RestartPolicy, VmName, VmSpec};
use crate::state::{Host, Vm};
use crate::stored::Identity;
use crate::time::{Now, WallMs};

const HOST: NodeId = NodeId(2);
const OTHER: NodeId = NodeId(3);
const SECOND: Duration = Duration::from_secs(1);
/// Of the last change of every host's set.
const SET: Revision = Revision(5);
const LISTED: VmId = VmId(7);
const DELETED: VmId = VmId(8);

/// A leader's leases, with two hosts beside it that do what the test says.
struct Bench {
    state: State,
    leases: Leases,
    me: Me,
    now: Time,
}

impl Bench {
    /// A leader elected ten seconds after its host came up.
    fn new() -> Self {
        Self::with(false, Level::NEWEST, Level::NEWEST)
    }

    fn with(lost: bool, level: Level, own: Level) -> Self {
        let now = Time(0) + Duration::from_secs(10);
        let mut state = State::new(ClusterId(1), Settings::default(), Revision(9));
        state.level = level;
        let host = || {
            let mut host = Host::new(HostSpec::default(), Incarnation(1), SET);
            host.lost = lost;
            host
        };
        let state = State::restore(state, [(HOST, host()), (OTHER, host())], [], vms());
        let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
        let config = NodeConfig::new(NodeId(1), HostSpec::default(), Vec::new());
        let config = NodeConfig { feature_level: own, ..config };
        let probes = Probes::default();
        let me = Me { config, identity, process: 1, probes, outgrown: None, loopback: Vec::new() };
        let mut leases = Leases::new(now);
        leases.adopt_hosts(&state, now);
        Self { state, leases, me, now }
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
    }

    /// A heartbeat comes in; whether it is taken.
    fn hear(&mut self, beat: &Heartbeat) -> bool {
        self.leases.heard(HOST, beat, &self.state, self.now)
    }

    /// Runs `act` in a step of its own; the answers to heartbeats that it sends.
    fn step<T>(
        &mut self,
        act: impl FnOnce(&mut Leases, &State, &mut Context<'_>) -> T,
    ) -> (T, Vec<HeartbeatAck>) {
        let mut out = Effects::default();
        let now = Now { boot: self.now, wall: WallMs(0) };
        let ctx = &mut Context { now, me: &mut self.me, out: &mut out };
        let done = act(&mut self.leases, &self.state, ctx);
        let acks = out.sends.into_iter().map(|(to, message)| match message.body {
            Body::HeartbeatAck(ack) if to == HOST => *ack,
            other => panic!("{to} is sent {other:?}"),
        });
        (done, acks.collect())
    }

    /// The quorum confirms this leader: what the host is answered.
    fn confirm(&mut self) -> Vec<HeartbeatAck> {
        let serve = |leases: &mut Leases, state: &State, ctx: &mut Context<'_>| {
            leases.take_pending().into_iter().for_each(|beat| leases.grant(beat, state, &[NodeId(1)], ctx));
        };
        self.step(serve).1
    }

    /// A heartbeat, and at once its answer.
    fn ask(&mut self, beat: &Heartbeat) -> Option<HeartbeatAck> {
        assert!(self.hear(beat));
        self.confirm().pop()
    }

    fn ask_lost(&mut self, beat: &Heartbeat) -> (bool, Vec<HeartbeatAck>) {
        assert!(self.hear(beat));
        self.step(|leases, _, ctx| leases.hears(HOST, ctx))
    }

    fn expired(&mut self) -> Vec<NodeId> {
        self.leases.expired(&self.state, &self.state.settings, self.now)
    }

    fn news(&mut self, reports: &[VmReport]) -> Vec<VmId> {
        let news = self.leases.news(HOST, reports, &self.state);
        news.into_iter().map(|report| report.run.vm).collect()
    }
}

/// One VM on the host, and one of which it has yet to remove what it keeps.
fn vms() -> [Vm; 2] {
    let spec = VmSpec {
        resources: Resources { vcpus: 1, memory_mib: 1 },
        requires: BTreeMap::new(),
        restart: RestartPolicy::Always,
        failover: FailoverPolicy::Move,
        local_volume: false,
        hypervisor: "any".into(),
        payload: String::new(),
        ports: Vec::new(),
    };
    let vm = |id: VmId, name: &str| {
        let name = VmName::new(name).unwrap();
        let mut vm = Vm::new(id, name, Arc::new(spec.clone()), WallMs(0));
        vm.epoch = Epoch(1);
        vm.hosts.insert(HOST);
        vm
    };
    let (mut listed, mut deleted) = (vm(LISTED, "listed"), vm(DELETED, "deleted"));
    (listed.assigned, listed.last_host) = (Some((HOST, Epoch(1))), Some(HOST));
    deleted.deleting = true;
    deleted.purging.insert(HOST);
    [listed, deleted]
}

fn report(vm: VmId, phase: Phase) -> VmReport {
    let (generation, reason) = (Generation(1), String::new());
    VmReport { run: Run { vm, epoch: Epoch(1) }, generation, phase, reason, restarts: 0, artifact: None }
}

/// The heartbeat of that number of a host that has had the answer to the one before.
fn beat(sequence: u64) -> Heartbeat {
    Heartbeat {
        nonce: Nonce { process: 1, sequence },
        sent: Time(sequence),
        set_revision: SET,
        answered: sequence - 1,
        reports: Vec::new(),
        urgent: false,
        level: Level::NEWEST,
    }
}

fn deaf(sequence: u64) -> Heartbeat {
    Heartbeat { answered: 0, ..beat(sequence) }
}

#[test]
fn a_lease_begins_with_the_heartbeat_and_not_with_its_answer() {
    let mut bench = Bench::new();
    let wait = bench.state.settings.give_up_after();
    bench.leases.forget(OTHER);
    let elected = bench.now;
    bench.pass(SECOND);
    bench.hear(&beat(1));
    bench.pass(SECOND);
    let ack = bench.confirm().pop().unwrap();
    assert_eq!((ack.nonce, ack.sent), (beat(1).nonce, beat(1).sent), "the agent counts by its own clock");
    assert_eq!(ack.ttl, bench.state.settings.lease_ttl);
    bench.now = elected + SECOND + wait;
    bench.now.0 -= 1;
    assert_eq!(bench.expired(), []);
    bench.now.0 += 1;
    assert_eq!(bench.leases.quiet_until(), bench.now, "it wants to be woken then");
    assert_eq!(bench.expired(), [HOST]);
}

#[test]
fn a_new_leader_waits_for_the_leases_of_those_before_it() {
    let mut bench = Bench::new();
    let (elected, wait) = (bench.now, bench.state.settings.give_up_after());
    bench.now = elected + wait;
    bench.now.0 -= 1;
    assert_eq!(bench.expired(), []);
    bench.pass(SECOND);
    assert_eq!(bench.expired(), [HOST, OTHER]);
    assert_eq!(bench.leases.quiet_until(), bench.now + RETRY, "again soon, should the log not take it");
}

#[test]
fn a_host_taken_in_or_back_is_given_up_in_its_turn() {
    let mut bench = Bench::new();
    let wait = bench.state.settings.give_up_after();
    bench.leases.forget(HOST);
    bench.leases.condemn(OTHER, bench.now);
    assert_eq!(bench.expired(), [], "which is quiet for long from here");
    bench.pass(SECOND);
    bench.leases.lease_from(HOST, bench.now);
    assert_eq!(bench.leases.quiet_until(), bench.now);
    assert_eq!(bench.expired(), []);
    bench.pass(wait);
    assert_eq!(bench.expired(), [HOST]);
    bench.leases.regained(HOST, bench.now);
    assert_eq!(bench.leases.quiet_until(), bench.now);
    assert_eq!(bench.expired(), [], "its lease may be a new one");
    bench.pass(wait);
    assert_eq!(bench.expired(), [HOST]);
}

#[test]
fn a_host_that_is_being_given_up_is_granted_nothing() {
    let mut bench = Bench::new();
    let wait = bench.state.settings.give_up_after();
    bench.pass(wait);
    assert_eq!(bench.expired(), [HOST, OTHER]);
    bench.leases.condemn(HOST, bench.now);
    assert_eq!(bench.ask(&beat(1)), None);
    bench.pass(wait);
    assert_eq!(bench.expired(), [OTHER], "it is done once");
    // The log did not take it.
    bench.leases.spare(HOST);
    bench.pass(RETRY);
    assert_eq!(bench.expired(), [HOST, OTHER], "it is tried again");
    assert!(bench.ask(&beat(2)).is_some(), "unless it is heard before");
    bench.pass(RETRY);
    assert_eq!(bench.expired(), [OTHER]);
}

#[test]
fn a_lost_host_is_taken_back_when_it_has_shown_that_it_hears() {
    let mut bench = Bench::with(true, Level::NEWEST, Level::NEWEST);
    bench.leases.given_up(HOST);
    assert_eq!(bench.ask(&deaf(1)), None, "a lost host is granted nothing");
    for sequence in 2..5 {
        let (hears, asked) = bench.ask_lost(&deaf(sequence));
        assert!(!hears);
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].ttl, asked[0].level), (Duration::ZERO, None), "an answer that grants nothing");
    }
    let answered = Heartbeat { answered: 1, ..beat(5) };
    assert!(!bench.ask_lost(&answered).0, "the first was not answered");
    let answered = Heartbeat { answered: 2, ..beat(6) };
    assert_eq!(bench.ask_lost(&answered), (true, Vec::new()));
    assert!(bench.leases.begin_regain(HOST));
    assert!(!bench.leases.begin_regain(HOST), "it is done once");
    bench.leases.regain_dropped(HOST);
    assert!(bench.leases.begin_regain(HOST), "unless the log did not take it");
    bench.leases.regained(HOST, bench.now);
    assert!(bench.leases.begin_regain(HOST), "or it is lost again");
    bench.leases.given_up(HOST);
    assert!(!bench.ask_lost(&deaf(7)).0, "and then it has to show it again");
    assert!(!bench.leases.begin_regain(NodeId(9)), "nobody knows it");
}

#[test]
fn what_was_heard_before_a_host_was_given_up_is_not_answered() {
    let mut bench = Bench::new();
    bench.hear(&beat(1));
    bench.leases.given_up(HOST);
    assert_eq!(bench.confirm(), []);
}

#[test]
fn a_host_that_speaks_and_does_not_hear_is_granted_nothing_in_the_end() {
    let mut bench = Bench::new();
    let ttl = bench.state.settings.lease_ttl;
    assert_eq!(bench.ask(&deaf(1)).unwrap().ttl, ttl);
    bench.pass(SECOND);
    assert_eq!(bench.ask(&deaf(2)).unwrap().ttl, ttl, "the answer may only be late");
    bench.pass(ttl);
    let (wait, granted) = (bench.state.settings.give_up_after(), bench.now);
    assert_eq!(bench.ask(&deaf(3)).unwrap().ttl, Duration::ZERO);
    bench.leases.forget(OTHER);
    bench.now = granted + wait;
    bench.now.0 -= 1;
    assert_eq!(bench.expired(), [HOST], "that was no lease");
    let heard = Heartbeat { answered: 1, ..deaf(4) };
    assert_eq!(bench.ask(&heard).unwrap().ttl, ttl);
    bench.pass(ttl);
    bench.pass(SECOND);
    // A new process knows nothing of the answers to the one before.
    let anew = Heartbeat { nonce: Nonce { process: 2, sequence: 1 }, answered: 0, ..beat(1) };
    assert_eq!(bench.ask(&anew).unwrap().ttl, ttl);
}

#[test]
fn heartbeats_count_once_and_in_their_order() {
    let mut bench = Bench::new();
    assert_eq!(bench.leases.last_seen(HOST), None);
    assert!(bench.hear(&beat(2)));
    assert_eq!(bench.leases.last_seen(HOST), Some(bench.now));
    let seen = bench.now;
    bench.pass(SECOND);
    assert!(!bench.hear(&beat(2)));
    assert!(!bench.hear(&beat(1)));
    assert_eq!(bench.leases.last_seen(HOST), Some(seen), "what comes twice or late is no sign of life");
    let anew = Heartbeat { nonce: Nonce { process: 2, sequence: 1 }, ..beat(1) };
    assert!(bench.hear(&anew), "a new process counts from one");
    assert!(bench.hear(&beat(3)), "processes have no order");
    assert_eq!(bench.confirm().len(), 1, "the newest is answered");
    bench.leases.forget(HOST);
    assert_eq!(bench.leases.last_seen(HOST), None);
}

#[test]
fn heartbeats_are_answered_together_unless_one_is_urgent() {
    let mut bench = Bench::new();
    assert!(!bench.leases.has_pending());
    bench.hear(&beat(1));
    let gathered = bench.now + GATHER;
    assert_eq!((bench.leases.serve_at(), bench.leases.has_pending()), (Some(gathered), true));
    bench.now.0 += 1;
    bench.leases.heard(OTHER, &beat(1), &bench.state, bench.now);
    assert_eq!(bench.leases.serve_at(), Some(gathered), "nobody waits longer for who comes later");
    bench.hear(&Heartbeat { urgent: true, ..beat(2) });
    assert_eq!(bench.leases.serve_at(), Some(bench.now));
    let taken: Vec<_> = bench.leases.take_pending().into_iter().map(|(node, _)| node).collect();
    assert_eq!(taken, [HOST, OTHER]);
    assert_eq!((bench.leases.serve_at(), bench.leases.has_pending()), (None, false));
    let outdated = Heartbeat { set_revision: Revision(SET.0 - 1), ..beat(3) };
    bench.hear(&outdated);
    assert_eq!(bench.leases.serve_at(), Some(bench.now), "it has to be told its set");
    assert_eq!(bench.confirm()[0].set, Some(bench.state.assignments(HOST)));
    bench.hear(&beat(4));
    assert_eq!(bench.leases.serve_at(), Some(bench.now + GATHER));
    assert_eq!(bench.confirm()[0].set, None, "it has it");
}

#[test]
fn a_confirmation_that_could_not_begin_is_tried_a_little_later() {
    let mut bench = Bench::new();
    bench.leases.postpone(bench.now);
    assert_eq!(bench.leases.serve_at(), None, "for nobody");
    bench.hear(&Heartbeat { urgent: true, ..beat(1) });
    bench.leases.postpone(bench.now);
    assert_eq!(bench.leases.serve_at(), Some(bench.now + RETRY));
    bench.confirm();
    bench.hear(&beat(2));
    bench.leases.postpone(bench.now);
    assert_eq!(bench.leases.serve_at(), Some(bench.now + GATHER), "it could wait for longer anyway");
}

#[test]
fn a_host_that_is_not_heard_is_called_now_and_then() {
    let mut bench = Bench::new();
    assert_eq!(bench.leases.silent(bench.now), []);
    bench.pass(SECOND);
    bench.hear(&beat(1));
    bench.pass(CALL_AFTER);
    bench.now.0 -= 1;
    assert_eq!(bench.leases.silent(bench.now), [OTHER]);
    bench.now.0 += 1;
    assert_eq!(bench.leases.silent(bench.now), [HOST]);
    bench.pass(SECOND);
    assert_eq!(bench.leases.silent(bench.now), []);
    bench.leases.forget(OTHER);
    bench.pass(CALL_AFTER);
    assert_eq!(bench.leases.silent(bench.now), [HOST], "who has left is called no more");
}

#[test]
fn members_are_told_when_they_change_and_now_and_then() {
    let mut bench = Bench::new();
    let told: Vec<u64> = (1..=2 * MEMBERS_EVERY)
        .filter(|sequence| {
            if *sequence == 5 {
                bench.leases.members_changed();
            }
            !bench.ask(&beat(*sequence)).unwrap().members.is_empty()
        })
        .collect();
    assert_eq!(told, [1, 5, MEMBERS_EVERY, 2 * MEMBERS_EVERY]);
}

#[test]
fn a_process_below_the_clusters_level_is_told_so() {
    let mut bench = Bench::new();
    let old = Heartbeat { level: Level::FIRST, ..beat(1) };
    let ack = bench.ask(&old).unwrap();
    assert_eq!((ack.ttl, ack.level), (Duration::ZERO, Some(Level::NEWEST)));
    assert!(bench.me.probes.has(Probe::HeartbeatBelowLevel));
    let ack = bench.ask(&beat(2)).unwrap();
    assert_eq!((ack.ttl, ack.level), (bench.state.settings.lease_ttl, Some(Level::NEWEST)));
}

#[test]
fn a_leader_that_knows_no_levels_tells_none() {
    let mut bench = Bench::with(false, Level::FIRST, Level::FIRST);
    assert_eq!(bench.ask(&beat(1)).unwrap().level, None);
    let mut bench = Bench::with(false, Level::FIRST, Level::RAISED);
    assert_eq!(bench.ask(&beat(1)).unwrap().level, Some(Level::FIRST));
}

#[test]
fn a_report_is_taken_up_when_it_is_news_and_one_at_a_time() {
    let mut bench = Bench::new();
    assert_eq!(bench.news(&[report(LISTED, Phase::Stopped)]), [], "it is known");
    let news =
        [report(LISTED, Phase::Running), report(DELETED, Phase::Stopped), report(VmId(9), Phase::Running)];
    assert_eq!(bench.news(&news), [LISTED, DELETED], "nobody knows the third");
    assert_eq!(bench.news(&news), [], "one is under way");
    bench.leases.reported(HOST);
    assert_eq!(bench.news(&[report(DELETED, Phase::Running)]), [], "it has not removed anything yet");
    assert_eq!(bench.news(&news), [LISTED, DELETED], "no news is nothing under way");
    assert_eq!(bench.leases.news(NodeId(9), &news, &bench.state), [], "a stranger's");
    let mut lost = Bench::with(true, Level::NEWEST, Level::NEWEST);
    assert_eq!(lost.news(&news), [], "what a lost host reports is of before");
}
