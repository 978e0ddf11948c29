use blixard_node::time::Duration;

use super::*;
use crate::scenario::{Call, Chance, Fault, FaultKind, Operation, When};
use crate::schedule::Schedule;
use crate::subject::Subject;
use crate::trace::Sink;

/// Fails when a crash of host 2 and a creation of a VM are left, and the network loses messages; nothing else matters.
struct Fragile;

impl Subject for Fragile {
    fn run(&self, scenario: &Scenario, seed: u64, _: Option<&mut dyn Sink>) -> Report {
        let crashes =
            scenario.faults.iter().any(|fault| fault.kind == FaultKind::Crash && fault.node == Some(2));
        let creates = scenario.operations.iter().any(|operation| operation.call == Call::Create);
        let fails = crashes && creates && scenario.network.loss != Chance::NEVER;
        Report::made_up(scenario, seed, fails.then_some("fragility"), Time(25_000_000_000))
    }
}

fn large() -> Scenario {
    let mut scenario = Scenario { name: "large".into(), ..Scenario::default() };
    scenario.network.loss = Chance::one_in(7);
    scenario.network.duplication = Chance::one_in(7);
    scenario.disk.error = Chance::one_in(9);
    for number in 0..40 {
        let kind = FaultKind::ALL[number % FaultKind::ALL.len()];
        if kind == FaultKind::MemberAdd {
            continue;
        }
        let fault = Fault {
            node: Some(1 + number as u64 % 3),
            ..Fault::new(kind, When::At(Duration(number as u64 * 77_777_777)))
        };
        scenario.faults.push(fault.with_what_it_takes());
    }
    scenario
        .faults
        .push(Fault { node: Some(2), ..Fault::new(FaultKind::Crash, When::At(Duration(4_123_456_789))) });
    for number in 0..200 {
        let call = Call::ALL[number % Call::ALL.len()];
        let at = Duration(number as u64 * 12_345_678);
        let client = number as u64 % 5;
        scenario.operations.push(Operation {
            at,
            client,
            node: 1,
            call,
            vm: number as u64 % 20,
            draws: number as u64,
        });
    }
    scenario
}

fn shrunk(jobs: usize) -> Shrunk {
    let options = Options { jobs, time_max_ms: None };
    shrink(&Fragile, &large(), 5, options, &mut |_| {}).expect("it fails")
}

#[test]
fn what_matters_is_left_and_nothing_else() {
    let small = shrunk(1);
    assert_eq!((small.size.faults, small.size.operations), (1, 1), "{}", small.case.scenario.to_toml());
    let scenario = &small.case.scenario;
    assert_eq!((scenario.hosts(), scenario.workload.clients, scenario.workload.vms), (3, 1, 1));
    assert_eq!(scenario.changed_keys(), 1, "the loss of messages: {}", scenario.to_toml());
    assert_eq!(scenario.expect.property, "fragility");
    let read = Scenario::parse("repro.toml", &scenario.to_toml()).expect("a scenario file");
    assert_eq!(read, *scenario);
    assert!(small.runs < 3_000, "{} runs", small.runs);
}

/// Fails with all operations or at most three, and with nearly all strikes or two: no step that takes out one leads from the one to the other.
struct Abrupt;

impl Subject for Abrupt {
    fn run(&self, scenario: &Scenario, seed: u64, _: Option<&mut dyn Sink>) -> Report {
        let (operations, faults) = (scenario.operations.len(), &scenario.faults);
        let few = (1..=3).contains(&operations);
        let fails = (operations == 200 && faults.len() > 30)
            || (few && faults.len() > 30)
            || (few && faults.len() == 2);
        Report::made_up(scenario, seed, fails.then_some("fragility"), Time(25_000_000_000))
    }
}

#[test]
fn leaps_reach_what_no_single_step_does() {
    let options = Options { jobs: 2, time_max_ms: None };
    let small = shrink(&Abrupt, &large(), 5, options, &mut |_| {}).expect("it fails");
    assert_eq!((small.size.operations, small.size.faults), (1, 2), "{}", small.case.scenario.to_toml());
    assert!(!small.cut_short);
}

#[test]
fn more_threads_find_the_same() {
    let (one, four) = (shrunk(1), shrunk(4));
    assert_eq!(one.case, four.case);
}

#[test]
fn what_holds_is_refused() {
    let options = Options { jobs: 1, time_max_ms: None };
    let refused = shrink(&Fragile, &Scenario::default(), 5, options, &mut |_| {});
    assert_eq!(refused.err(), Some(Refused::Holds { seed: 5, outcome: Outcome::Held }));
}

#[test]
fn a_bound_on_time_keeps_the_best_so_far() {
    let mut told = 0;
    let options = Options { jobs: 1, time_max_ms: Some(0) };
    let small = shrink(&Fragile, &large(), 5, options, &mut |_| told += 1).expect("it fails");
    assert!(small.cut_short && told == 0);
    assert_eq!(small.size, small.before);
}

/// A run as a subject would report it that does what its scenario says.
impl Report {
    fn made_up(scenario: &Scenario, seed: u64, property: Option<&'static str>, at: Time) -> Self {
        let violation = property.map(|property| crate::checkers::Violation {
            property,
            message: "made up".into(),
            at,
            subjects: crate::checkers::Subjects::default(),
        });
        let schedule = Schedule { faults: scenario.faults.clone(), operations: scenario.operations.clone() };
        Self {
            seed,
            scenario: scenario.name.clone(),
            outcome: if violation.is_some() { Outcome::Safety } else { Outcome::Held },
            violation,
            schedule,
            ..Self::default()
        }
    }
}

/// Fails as long as this is so of the scenario.
struct Fails(fn(&Scenario) -> bool);

impl Subject for Fails {
    fn run(&self, scenario: &Scenario, seed: u64, _: Option<&mut dyn Sink>) -> Report {
        Report::made_up(scenario, seed, self.0(scenario).then_some("made up"), Time(25_000_000_000))
    }
}

#[test]
fn what_is_left_can_be_read_again() {
    let mut scenario = large();
    (scenario.cluster.workers, scenario.cluster.old_hosts) = (4, 7);
    (scenario.cluster.drift_bound_ppm, scenario.clock.drift_ppm) = (250_000, 200_000);
    // What bounds the one and the other would be reset, or taken away.
    let drifts: fn(&Scenario) -> bool = |scenario| scenario.clock.drift_ppm > 1_000;
    for fails in [drifts, |scenario| scenario.cluster.old_hosts > 0] {
        let options = Options { jobs: 1, time_max_ms: None };
        let shrunk = shrink(&Fails(fails), &scenario, 5, options, &mut |_| {}).expect("it fails");
        assert_eq!((shrunk.size.faults, shrunk.size.operations), (0, 0));
        let text = shrunk.case.scenario.to_toml();
        let read = Scenario::parse("a shrunk scenario", &text).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(read.to_toml(), text);
    }
}
