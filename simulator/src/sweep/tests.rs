use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::probes::{Probe, Probes, WorldProbe};

use super::*;
use crate::trace::Sink;
use crate::world::Counts;

/// A subject whose runs come to what their seeds say.
#[derive(Debug, Default)]
struct Told {
    /// Every seed that was run, as often as it was.
    seen: Mutex<Vec<u64>>,
    panics_on: Option<u64>,
    fails_from: Option<u64>,
    /// The run of this seed waits until it is let go.
    hangs_on: Option<u64>,
    let_go: AtomicBool,
    /// The run of this seed has no end of its own.
    endless_on: Option<u64>,
}

impl Told {
    fn seen(&self) -> Vec<u64> {
        let mut seen = lock(&self.seen).clone();
        seen.sort_unstable();
        seen
    }
}

impl Subject for Told {
    fn run(&self, scenario: &Scenario, seed: u64, _sink: Option<&mut dyn Sink>) -> Report {
        lock(&self.seen).push(seed);
        assert!(self.panics_on != Some(seed), "seed {seed} went over the edge");
        while self.hangs_on == Some(seed) && !self.let_go.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        if self.endless_on == Some(seed) {
            (1..=u64::MAX).for_each(|events| crate::hang::look(blixard_node::time::Time(events), events));
        }
        let mut report = Report::of_panic(&scenario.name, seed, "as told".into());
        if self.fails_from.is_none_or(|from| seed < from) {
            (report.outcome, report.violation) = (Outcome::Held, None);
        }
        let mut probes = Probes::default();
        probes.hit(Probe::World(WorldProbe::TwoLeaders));
        let faults = [("crash", seed)].into();
        report.counts = Counts { events: 10, elections: 1, faults, probes, ..Counts::default() };
        report.virtual_ms = 1_000;
        report
    }
}

fn sweep(seeds: std::ops::Range<u64>, jobs: usize) -> Sweep {
    let scenario = Source::Fixed(Box::default());
    Sweep { scenarios: vec![("told".into(), scenario)], seeds: seeds.into(), jobs, ..Sweep::default() }
}

/// What a test does at each beat.
type AtBeat = Box<dyn Fn(&[UnderWay]) + Send + Sync>;

/// Keeps what was under way at each beat, and says when to stop.
#[derive(Default)]
struct Watch {
    stop_after: Option<u64>,
    ended: AtomicU64,
    beats: Mutex<Vec<Vec<UnderWay>>>,
    at_beat: Option<AtBeat>,
}

impl Observer for Watch {
    fn finished(&self, _run: &Finished, _failure: Option<&Failure>, swept: &Swept) {
        self.ended.store(swept.runs, Ordering::Relaxed);
    }

    fn beat(&self, _at: &Checkpoint, under_way: &[UnderWay]) {
        lock(&self.beats).push(under_way.to_vec());
        if let Some(at_beat) = &self.at_beat {
            at_beat(under_way);
        }
    }

    fn stop(&self) -> bool {
        self.stop_after.is_some_and(|after| self.ended.load(Ordering::Relaxed) >= after)
    }
}

#[test]
fn every_run_is_folded_into_the_counts() {
    let subject = Told::default();
    let swept = sweep(5..25, 3).run(&subject, &|_| {});
    assert_eq!(subject.seen(), (5..25).collect::<Vec<_>>());
    assert_eq!((swept.runs, swept.failures, swept.virtual_ms), (20, 0, 20_000));
    assert_eq!((swept.events, swept.elections), (200, 20));
    assert_eq!(swept.faults["crash"], (5..25).sum::<u64>());
    assert_eq!(swept.probes[&Probe::World(WorldProbe::TwoLeaders)], 20);
    assert!(
        !swept.never_hit().contains(&Probe::World(WorldProbe::TwoLeaders))
            && swept.never_hit().contains(&Probe::World(WorldProbe::NobodyUp))
    );
    assert_eq!(swept.shares[0].runs, 20);
}

#[test]
fn a_panic_outside_of_the_node_is_that_runs_failure_and_the_others_go_on() {
    for jobs in [1, 4] {
        let subject = Told { panics_on: Some(7), ..Told::default() };
        let swept = sweep(0..20, jobs).run(&subject, &|_| {});
        assert_eq!((swept.runs, swept.failures), (20, 1), "{jobs} jobs");
        let failure = &swept.failed[0];
        assert_eq!((failure.seed, failure.ending), (7, Ending::Safety));
        assert_eq!(failure.property.as_deref(), Some("panic"));
        assert!(failure.message.contains("seed 7 went over the edge"), "{}", failure.message);
        assert!(failure.message.contains("sweep/tests.rs:"), "{}", failure.message);
        assert_eq!(failure.reproduce, "cargo sim --seed 7 --scenario told");
    }
}

#[test]
fn a_panic_is_a_failure_also_where_a_violation_is_expected() {
    let mut scenario = Scenario::default();
    scenario.expect.outcome = Outcome::Safety;
    let mut sweep = sweep(0..4, 1);
    sweep.scenarios[0].1 = Source::Fixed(Box::new(scenario));
    let subject = Told { fails_from: Some(0), panics_on: Some(2), ..Told::default() };
    let swept = sweep.run(&subject, &|_| {});
    assert_eq!(swept.failed.iter().map(|failure| failure.seed).collect::<Vec<_>>(), [2]);
}

#[test]
fn no_seed_is_begun_after_so_many_failures() {
    let subject = Told { fails_from: Some(10), ..Told::default() };
    let swept = Sweep { failures_max: Some(3), ..sweep(0..1_000, 1) }.run(&subject, &|_| {});
    assert_eq!((swept.runs, swept.failures), (13, 3));
    // Whoever goes on gets as many again.
    let from = Checkpoint { done: Done::of_ranges(&[(0, 13)]), swept };
    let sweep_again = Sweep { failures_max: Some(3), ..sweep(0..1_000, 1) };
    let swept = sweep_again.run_from(from, &subject, &Watch::default()).swept;
    assert_eq!((swept.runs, swept.failures), (16, 6));
    // Runs that are under way on other threads still end.
    let subject = Told { fails_from: Some(10), ..Told::default() };
    let swept = Sweep { failures_max: Some(3), ..sweep(0..1_000, 4) }.run(&subject, &|_| {});
    assert!((3..=6).contains(&swept.failures), "{}", swept.failures);
    assert!(swept.runs < 20, "{}", swept.runs);
}

#[test]
fn failures_are_kept_to_a_bound_and_counted_beyond_it() {
    let subject = Told { fails_from: Some(50), ..Told::default() };
    let swept = sweep(0..1_000, 4).run(&subject, &|_| {});
    assert_eq!(swept.failures, 950);
    assert_eq!(swept.endings, [(Ending::Safety, 950)].into());
    let kept: Vec<u64> = swept.failed.iter().map(|failure| failure.seed).collect();
    assert_eq!(kept, (50..50 + FAILURES_KEPT as u64).collect::<Vec<_>>(), "the first ones, in order");
}

#[test]
fn a_sweep_that_was_stopped_goes_on_with_exactly_what_is_left() {
    let whole = sweep(0..300, 3).run(&Told { fails_from: Some(280), ..Told::default() }, &|_| {});
    let sweep = sweep(0..300, 3);
    let subject = Told { fails_from: Some(280), ..Told::default() };
    let mut at = Checkpoint::default();
    for stop_after in [1, 50, 51, 200, 290] {
        let watch = Watch { stop_after: Some(stop_after), ..Watch::default() };
        at = sweep.run_from(at, &subject, &watch);
        assert!(at.swept.runs >= stop_after && at.swept.runs <= stop_after + 3, "{}", at.swept.runs);
        assert_eq!(at.done.len(), at.swept.runs);
        // What is written down and read again is enough to go on from.
        let done = Done::of_ranges(&at.done.ranges());
        let counts = serde_json::from_value(serde_json::to_value(&at.swept).unwrap()).unwrap();
        at = Checkpoint { done, swept: Swept { failed: at.swept.failed, ..counts } };
    }
    at = sweep.run_from(at, &subject, &Watch::default());
    assert_eq!(subject.seen(), (0..300).collect::<Vec<_>>(), "each seed once");
    assert_eq!(at.done.ranges(), [(0, 300)]);
    let timeless = |swept: Swept| {
        let untimed = swept.shares.iter().map(|share| Share { busy_us: 0, ..*share }).collect();
        Swept { wall_us: 0, shares: untimed, ..swept }
    };
    assert_eq!(timeless(at.swept), timeless(whole));
}

#[test]
fn shares_run_everything_once() {
    let mut seen = BTreeSet::new();
    for number in 1..=3 {
        let mut sweep = sweep(0..50, 2);
        sweep.scenarios.push(("again".into(), sweep.scenarios[0].1.clone()));
        sweep.shard = format!("{number}/3").parse().unwrap();
        let runs = Mutex::new(Vec::new());
        let swept = sweep.run(&Told::default(), &|run| lock(&runs).push((run.scenario, run.report.seed)));
        assert_eq!(swept.runs, sweep.len());
        for run in runs.into_inner().unwrap() {
            assert!(seen.insert(run), "{run:?} twice");
        }
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn a_seed_that_hangs_is_seen_under_way_while_the_others_go_on() {
    let subject = std::sync::Arc::new(Told { hangs_on: Some(3), ..Told::default() });
    let hanging = std::sync::Arc::clone(&subject);
    let watch = Watch {
        at_beat: Some(Box::new(move |under_way| {
            if under_way.iter().any(|run| run.seed == 3 && run.for_ms > 900) {
                hanging.let_go.store(true, Ordering::Relaxed);
            }
        })),
        ..Watch::default()
    };
    let at = sweep(0..40, 2).run_from(Checkpoint::default(), &*subject, &watch);
    assert_eq!(at.swept.runs, 40);
    let beats = lock(&watch.beats);
    assert!(beats.iter().any(|under_way| under_way.iter().map(|run| run.seed).eq([3])), "{beats:?}");
}

#[test]
fn a_seed_without_an_end_is_given_up_and_the_others_go_on() {
    let subject = Told { endless_on: Some(3), fails_from: Some(8), ..Told::default() };
    let sweep = Sweep { hang_ms: Some(1), ..sweep(0..10, 2) };
    let swept = sweep.run(&subject, &|run| assert_eq!(run.hung, run.report.seed == 3));
    assert_eq!((swept.runs, swept.failures, swept.inconclusive), (10, 3, 0));
    assert_eq!(swept.endings, [(Ending::Safety, 2), (Ending::Hung, 1)].into());
    let hung = &swept.failed[0];
    assert_eq!((hung.seed, hung.ending, hung.property.as_deref()), (3, Ending::Hung, None));
    assert!(hung.message.starts_with("HUNG: given up after "), "{}", hung.message);
    // Both runs of a seed that is run twice, and whatever it is expected to come to.
    let mut scenario = Scenario::default();
    scenario.expect.outcome = Outcome::Inconclusive;
    let scenarios = vec![("told".into(), Source::Fixed(Box::new(scenario)))];
    let twice = Sweep { twice: true, scenarios, seeds: (3..4).into(), ..sweep };
    assert_eq!(twice.run(&subject, &|_| {}).endings, [(Ending::Hung, 1)].into());
}

#[test]
fn no_seed_is_begun_after_the_time_is_up() {
    let subject = Told { hangs_on: Some(2), ..Told::default() };
    let swept = std::thread::scope(|scope| {
        let running = scope
            .spawn(|| Sweep { time_max_ms: Some(50), ..sweep(0..1_000_000_000, 1) }.run(&subject, &|_| {}));
        std::thread::park_timeout(Duration::from_millis(200));
        subject.let_go.store(true, Ordering::Relaxed);
        running.join().unwrap()
    });
    assert_eq!(swept.runs, 3, "what was under way has ended, and nothing else was begun");
}

#[test]
fn an_observer_that_panics_does_not_leave_the_sweep_waiting() {
    let result = std::panic::catch_unwind(|| {
        sweep(0..4, 2).run(&Told::default(), &|run| assert!(run.report.seed < 2, "not so"));
    });
    assert!(result.is_err());
}
