use super::*;
use crate::scenario::Scenario;
use crate::sweep::{Checkpoint, Ending, FAILURES_KEPT, Failure, Source, Sweep, Swept};

fn build() -> Build {
    Build { name: "abc".into(), dirty: false, profile: "release".into(), binary: "1-1".into() }
}

fn sweep() -> Sweep {
    let fixed = Source::Fixed(Box::default());
    Sweep {
        scenarios: vec![("a.toml".into(), fixed), ("swarm".into(), Source::Drawn)],
        seeds: (0..100).into(),
        ..Sweep::default()
    }
}

fn failure(number: u64) -> Failure {
    Failure {
        number,
        place: 0,
        scenario: "a.toml".into(),
        seed: number / 2,
        ending: Ending::Liveness,
        property: Some("convergence".into()),
        message: format!("run {number}"),
        reproduce: String::new(),
    }
}

fn at(runs: u64) -> Checkpoint {
    let swept = Swept { runs, failures: 3, ..Swept::default() };
    Checkpoint { done: crate::sweep::Done::of_ranges(&[(0, runs)]), swept }
}

#[test]
fn a_key_changes_with_whatever_changes_the_runs_and_with_nothing_else() {
    let key = Key::of(&sweep(), &build(), "");
    let same = Sweep { jobs: 7, time_max_ms: Some(1), failures_max: Some(1), ..sweep() };
    assert_eq!(Key::of(&same, &build(), ""), key);
    let mut moved = sweep();
    moved.scenarios[0].0 = "elsewhere/a.toml".into();
    assert_eq!(Key::of(&moved, &build(), ""), key, "content counts, not the place");
    let mut changed = sweep();
    let mut scenario = Scenario::default();
    scenario.cluster.voters += 2;
    changed.scenarios[0].1 = Source::Fixed(Box::new(scenario));
    let others = [
        changed,
        Sweep { seeds: (0..101).into(), ..sweep() },
        Sweep { shard: "1/2".parse().unwrap(), ..sweep() },
        Sweep { twice: true, ..sweep() },
        Sweep { scenarios: sweep().scenarios[..1].to_vec(), ..sweep() },
    ];
    for other in others {
        let other = Key::of(&other, &build(), "");
        assert!(other != key && !other.same_runs(&key));
    }
    assert!(!Key::of(&sweep(), &build(), "--sabotage lying-sync").same_runs(&key));
    let rebuilt = Key::of(&sweep(), &Build { binary: "2-2".into(), ..build() }, "");
    assert!(rebuilt != key && rebuilt.same_runs(&key));
}

#[test]
fn a_sweep_is_found_again_until_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let logbook = Logbook::at(folder.path().join("deep/down/history.redb"));
    assert!(logbook.records().unwrap().is_empty() && !logbook.path().exists(), "looking makes no file");
    let mut record = Record::of(&sweep(), &build(), "");
    let number = logbook.begin(&record).unwrap();
    record.enter(&at(60), State::Running);
    logbook.enter(number, &record, [&failure(9), &failure(4)]).unwrap();
    // An entry that comes again changes nothing.
    logbook.enter(number, &record, [&failure(9)]).unwrap();
    let (found, unfinished) = logbook.unfinished(&record.key).unwrap().expect("it has runs left");
    let failures = logbook.failures(found).unwrap();
    assert_eq!((found, &failures), (number, &vec![failure(4), failure(9)]));
    let checkpoint = unfinished.checkpoint(failures);
    assert_eq!((checkpoint.done.ranges(), checkpoint.swept.runs), (vec![(0, 60)], 60));
    assert_eq!(checkpoint.swept.failed.len(), 2);
    record.enter(&at(200), State::Complete);
    logbook.enter(number, &record, []).unwrap();
    assert!(logbook.unfinished(&record.key).unwrap().is_none());
    // A newer one of the same key is another sweep.
    let again = logbook.begin(&Record::of(&sweep(), &build(), "")).unwrap();
    assert_eq!(logbook.unfinished(&record.key).unwrap().map(|(number, _)| number), Some(again));
    assert_eq!(logbook.records().unwrap().len(), 2);
    assert!(logbook.failures(again).unwrap().is_empty(), "failures are those of their own sweep");
}

#[test]
fn all_failures_are_entered_and_as_many_are_read_as_a_sweep_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let logbook = Logbook::at(folder.path().join("history.redb"));
    let record = Record::of(&sweep(), &build(), "");
    let number = logbook.begin(&record).unwrap();
    let failures: Vec<Failure> = (0..300).map(failure).collect();
    logbook.enter(number, &record, &failures).unwrap();
    assert_eq!(logbook.failures(number).unwrap(), failures[..FAILURES_KEPT]);
}

#[test]
fn only_a_living_process_is_at_work_and_only_for_a_while() {
    let mut record = Record::of(&sweep(), &build(), "");
    assert!(!record.is_at_work(), "oneself is not in one's own way");
    record.process = 1;
    assert!(record.is_at_work());
    record.entered_s -= 3_600;
    assert!(!record.is_at_work(), "nothing was entered for an hour: that process is another one by now");
    let gone = Record { process: u32::MAX, ..Record::of(&sweep(), &build(), "") };
    assert!(!gone.is_at_work());
    let ended = Record { process: 1, state: State::Stopped, ..Record::of(&sweep(), &build(), "") };
    assert!(!ended.is_at_work());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "puts something else where a history should be")]
fn a_file_that_is_no_history_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.redb");
    std::fs::write(&path, "not a database").unwrap();
    let error = Logbook::at(&path).begin(&Record::of(&sweep(), &build(), "")).unwrap_err().to_string();
    assert!(error.contains("history.redb"), "{error}");
    std::fs::remove_file(&path).unwrap();
    drop(redb::Database::create(&path).unwrap());
    let error = Logbook::at(&path).records().unwrap_err().to_string();
    assert!(
        error.ends_with("has form 0, and this build knows form 1: move it away, or name another file"),
        "{error}"
    );
}

#[test]
fn many_sweeps_at_once_all_have_their_entries() {
    let folder = tempfile::tempdir().unwrap();
    let logbook = Logbook::at(folder.path().join("history.redb"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut record = Record::of(&sweep(), &build(), "");
                let number = logbook.begin(&record).unwrap();
                for runs in 1..=5 {
                    record.enter(&at(runs), State::Running);
                    logbook.enter(number, &record, [&failure(runs)]).unwrap();
                }
            });
        }
    });
    let records = logbook.records().unwrap();
    assert_eq!(records.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(records.iter().all(|(_, record)| record.swept.runs == 5));
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["history.redb"], "nothing is left aside");
}
