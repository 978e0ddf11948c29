//! The world of a kit keeps its promises: tried with a register that each node has for itself, and with bugs of many kinds.

use super::*;
use crate::scenario::{Among, CrashPoint, Fault, FaultKind, Outcome, Spread, When};
use crate::{determinism, shrink};

/// How a node misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flaws {
    replies_unsynced: bool,
    panics_on_message: bool,
    deaf_after_crash: bool,
    breaks_invariant: bool,
}

/// Each node holds one number, which it keeps for itself: key and object are the node. It pings its neighbour all the time.
#[derive(Debug)]
struct Register {
    flaws: Flaws,
    value: u64,
    /// It has been started with something on its disk.
    restarted: bool,
    pings: u64,
    pongs: u64,
}

/// What a node answers that is asked for another one's number.
const ELSEWHERE: u64 = u64::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Ask {
    Set { node: u64, to: u64 },
    Get { node: u64 },
}

#[derive(Clone, Debug)]
enum Word {
    Ping,
    Pong,
}

impl Node for Register {
    type Settings = Flaws;
    type Message = Word;
    type Request = Ask;
    type Response = u64;
    type Stored = Option<u64>;

    fn start(flaws: &Flaws, cx: &mut Context<'_, Self>) -> Self {
        let stored = *cx.disk();
        cx.set_timer(7, Duration::from_millis(100));
        cx.set_timer(8, Duration::from_millis(1));
        cx.cancel_timer(8);
        let value = stored.unwrap_or(0);
        Self { flaws: *flaws, value, restarted: stored.is_some(), pings: 0, pongs: 0 }
    }

    fn on_message(&mut self, from: NodeId, message: Word, cx: &mut Context<'_, Self>) {
        assert!(!self.flaws.panics_on_message || cx.me() != NodeId(2), "it cannot read");
        match message {
            Word::Ping => cx.send(from, Word::Pong),
            Word::Pong => self.pongs += 1,
        }
    }

    fn on_request(&mut self, ticket: Ticket, request: Ask, cx: &mut Context<'_, Self>) {
        let (Ask::Set { node, .. } | Ask::Get { node }) = request;
        match request {
            _ if cx.me().0 == node => {}
            Ask::Get { .. } => return cx.reply(ticket, ELSEWHERE),
            Ask::Set { .. } => return cx.refuse(ticket),
        }
        if self.flaws.deaf_after_crash && self.restarted {
            return;
        }
        if let Ask::Set { to, .. } = request {
            self.value = to;
            cx.write(Some(to));
        }
        let response = self.value;
        if self.flaws.replies_unsynced {
            cx.reply(ticket, response);
        } else {
            cx.synced().reply(ticket, response);
        }
    }

    fn on_timer(&mut self, timer: u64, cx: &mut Context<'_, Self>) {
        assert_eq!(timer, 7, "the other is cancelled");
        self.pings += 1;
        let to = cx.me().0 % cx.nodes().len() as u64 + 1;
        cx.send(NodeId(to), Word::Ping);
        let chance = cx.rng().below(9);
        cx.tell("pinged", [self.pings, chance, 0]);
        cx.set_timer(7, Duration::from_millis(100));
    }

    fn leads(&self) -> bool {
        self.pings % 2 == 1
    }
}

struct Registers;

impl Model for Registers {
    type State = u64;
    type Op = ExchangeOf<Register>;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, value: &u64, exchange: &Self::Op) -> Option<u64> {
        match (&exchange.request, exchange.response) {
            (Ask::Set { to, .. }, _) => Some(*to),
            (Ask::Get { .. }, Some(seen)) if seen != *value && seen != ELSEWHERE => None,
            (Ask::Get { .. }, _) => Some(*value),
        }
    }

    fn only_looks(&self, exchange: &Self::Op) -> bool {
        matches!(exchange.request, Ask::Get { .. })
    }

    fn forgets(&self, exchange: &Self::Op) -> bool {
        matches!(exchange.request, Ask::Set { .. })
    }
}

impl Spec for Registers {
    type Node = Register;

    fn request(&self, call: Call, key: u64, rng: &mut Rng) -> Ask {
        let node = key + 1;
        if call == Call::Get { Ask::Get { node } } else { Ask::Set { node, to: rng.below(1_000) } }
    }

    fn object(&self, request: &Ask) -> u64 {
        let (Ask::Set { node, .. } | Ask::Get { node }) = request;
        *node
    }

    fn invariant(&self, nodes: &[(NodeId, &Register)]) -> Result<(), Broken> {
        let broken = nodes.iter().find(|(_, node)| node.flaws.breaks_invariant && node.pongs > 5);
        broken.map_or(Ok(()), |(id, node)| {
            Err(Broken { property: "few-pongs", message: format!("{id} has got {}", node.pongs) })
        })
    }
}

fn scenario(faults: &[(FaultKind, u64)]) -> Scenario {
    let mut scenario = Scenario { name: "registers".into(), ..Scenario::default() };
    (scenario.cluster.voters, scenario.cluster.workers) = (1, 0);
    (scenario.workload.vms, scenario.workload.operations_per_second) = (1, 20);
    scenario.workload.timeout = Duration::from_secs(1);
    scenario.run.warmup = Duration::from_secs(1);
    scenario.run.duration = Duration::from_secs(10);
    scenario.run.liveness = Duration::from_secs(5);
    for (kind, every_ms) in faults {
        let every = When::Every(Spread::millis(*every_ms, 2 * every_ms));
        let lasts = Spread::millis(10, 400);
        scenario.faults.push(Fault { lasts, ..Fault::new(*kind, every) }.with_what_it_takes());
    }
    scenario
}

fn run(flaws: Flaws, scenario: &Scenario, seed: u64) -> Report {
    Kit { spec: Registers, settings: flaws }.run(scenario, seed, None)
}

const ALL: [(FaultKind, u64); 8] = [
    (FaultKind::Crash, 300),
    (FaultKind::CrashLoop, 3_000),
    (FaultKind::CrashAll, 3_000),
    (FaultKind::CrashLeader, 500),
    (FaultKind::HostReboot, 2_000),
    (FaultKind::Pause, 700),
    (FaultKind::DiskStall, 700),
    (FaultKind::Drift, 700),
];

#[test]
fn what_is_sound_holds_under_every_fault() {
    let mut scenario = scenario(&ALL);
    scenario.clock.drift_ppm = 100_000;
    for seed in 0..4 {
        let report = run(Flaws::default(), &scenario, seed);
        assert_eq!(report.outcome, Outcome::Held, "seed {seed}: {:?}", report.violation);
        assert!(report.counts.faults.len() >= 7, "{:?}", report.counts.faults);
        assert!(report.operations[&("get", "ok")] > 5, "{:?}", report.operations);
    }
}

#[test]
fn cuts_are_told_and_mended() {
    use FaultKind as K;
    let kinds = [
        K::Partition,
        K::OneWay,
        K::Bridge,
        K::Ring,
        K::Isolate,
        K::IsolateLeader,
        K::Split,
        K::Clog,
        K::Lag,
    ];
    let mut scenario = scenario(&kinds.map(|kind| (kind, 500)));
    (scenario.cluster.voters, scenario.cluster.workers) = (3, 2);
    let mut lines = Vec::new();
    let kit = Kit { spec: Registers, settings: Flaws::default() };
    let report = kit.run(&scenario, 3, Some(&mut lines));
    assert_eq!(report.outcome, Outcome::Held, "{:?}", report.violation);
    let struck = kinds.map(|kind| report.counts.faults.get(kind.word()).copied().unwrap_or(0));
    assert!(struck.iter().all(|times| *times > 0), "{:?}", report.counts.faults);
    let count = |word: &str| lines.iter().filter(|line| line.kind.word() == word).count() as u64;
    assert_eq!((count("fault"), count("fault-over")), (struck.iter().sum(), struck.iter().sum()));
    assert!(count("cut") > 0 && lines.iter().any(|line| line.is("why", "cut")));
    assert_eq!(count("operation-began"), report.operations.values().sum::<u64>());
}

#[test]
fn what_is_answered_before_it_is_durable_is_found_and_shrunk() {
    let flaws = Flaws { replies_unsynced: true, ..Flaws::default() };
    let scenario = scenario(&[(FaultKind::Crash, 200)]);
    let kit = Kit { spec: Registers, settings: flaws };
    let report = (0..20).map(|seed| run(flaws, &scenario, seed)).find(|run| run.outcome != Outcome::Held);
    let report = report.expect("found");
    assert_eq!(report.violation.as_ref().map(|violation| violation.property), Some("linearizable"));
    let violation = report.violation.as_ref().expect("a violation");
    let accused = format!("operation {},", violation.subjects.operations[0]);
    assert!(violation.message.contains(&format!("explained, {accused}")), "{violation}");
    let options = shrink::Options { jobs: 1, time_max_ms: None };
    let small = shrink::shrink(&kit, &scenario, report.seed, options, &mut |_| {}).expect("it fails");
    // What is read in the end shows it: it takes no other operation of a client.
    assert_eq!((small.size.faults, small.size.operations), (1, 1), "{}", small.case.scenario.to_toml());
}

#[test]
fn a_crash_at_each_point_loses_what_it_may() {
    for point in &CrashPoint::ALL[1..] {
        let mut scenario = scenario(&[]);
        let every = When::Every(Spread::millis(200, 400));
        let lasts = Spread::millis(1, 10);
        scenario.faults = vec![Fault { point: *point, lasts, ..Fault::new(FaultKind::Crash, every) }];
        let sound = run(Flaws::default(), &scenario, 1);
        assert_eq!(sound.outcome, Outcome::Held, "{point}: {:?}", sound.violation);
        let flaws = Flaws { replies_unsynced: true, ..Flaws::default() };
        let fails = (0..10).any(|seed| run(flaws, &scenario, seed).outcome == Outcome::Safety);
        let must = matches!(point, CrashPoint::BeforeWrite | CrashPoint::MidWrite);
        assert!(fails || !must, "{point}");
    }
}

#[test]
fn panics_invariants_and_silence_are_violations() {
    let mut scenario = scenario(&[(FaultKind::Crash, 2_000)]);
    let violation = |scenario: &Scenario, flaws| {
        let report = run(flaws, scenario, 1);
        let violation = report.violation.expect("violated");
        (report.outcome, violation.property, violation.message)
    };
    let (outcome, property, message) =
        violation(&scenario, Flaws { deaf_after_crash: true, ..Flaws::default() });
    assert_eq!((outcome, property), (Outcome::Liveness, "liveness"));
    assert!(message.contains("get at n1") && message.contains("update at n1"), "{message}");
    scenario.cluster.voters = 3;
    scenario.faults.clear();
    let (outcome, property, message) =
        violation(&scenario, Flaws { panics_on_message: true, ..Flaws::default() });
    assert_eq!((outcome, property), (Outcome::Safety, "panic"));
    assert!(message.contains("n2 panicked at") && message.contains("it cannot read"), "{message}");
    let (outcome, property, message) =
        violation(&scenario, Flaws { breaks_invariant: true, ..Flaws::default() });
    assert_eq!((outcome, property), (Outcome::Safety, "few-pongs"));
    assert!(message.ends_with("has got 6"), "{message}");
}

#[test]
fn a_seed_gives_one_run_and_its_schedule_the_same_again() {
    let mut scenario = scenario(&ALL);
    scenario.cluster.voters = 3;
    scenario.clock.drift_ppm = 1_000;
    scenario.faults.push(Fault {
        among: Among::Followers,
        ..Fault::new(FaultKind::Clog, When::Every(Spread::millis(900, 2_000)))
    });
    scenario.swarm.parts.insert(crate::scenario::Part::Network);
    scenario.swarm.parts.insert(crate::scenario::Part::Faults);
    let kit = Kit { spec: Registers, settings: Flaws::default() };
    for seed in 0..4 {
        let (report, divergence) = determinism::check(&kit, &scenario, seed);
        assert_eq!(divergence, None);
        let again = kit.run(&scenario.explicit(seed, &report.schedule), seed, None);
        assert_eq!(again.trace_hash, report.trace_hash, "seed {seed}");
        assert_eq!(again.schedule, report.schedule);
    }
    assert_ne!(
        run(Flaws::default(), &scenario, 0).trace_hash,
        run(Flaws::default(), &scenario, 1).trace_hash
    );
}
