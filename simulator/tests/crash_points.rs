//! Crashes and faults at every operation of the store: nothing acknowledged is lost, and a batch under way is there or not.
//!
//! `BLIXARD_CRASH_SEEDS` sets how many workloads each test tries.
#![expect(clippy::disallowed_methods, reason = "the length of the run is the caller's choice")]

use std::task::Poll;

use blixard_node::rng::Rng;
use blixard_node::stored::{Stored, WriteBatch};
use blixard_runtime::conformance::random_batch;
use blixard_runtime::{Disk, DiskError};
use blixard_sim::disk::{Engine, Fault, FaultKind, Loss, SimDisk};

/// Batches of one workload.
const BATCHES: usize = 8;

fn seeds(default: u64) -> u64 {
    std::env::var("BLIXARD_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(default)
}

/// What a process on a disk came to.
#[derive(Default)]
struct Run {
    /// What was read when it began, and then acknowledged.
    acknowledged: Stored,
    /// That, with the batch that was under way.
    attempted: Stored,
    /// Why it ended early.
    error: Option<DiskError>,
}

/// Opens `disk` and writes what `seed` says on top of what is there.
fn run(disk: &SimDisk, seed: u64, batches: usize) -> Run {
    let mut rng = Rng::new(seed, 1);
    let mut node = disk.clone();
    let acknowledged = match node.load() {
        Ok(stored) => stored,
        Err(error) => return Run { error: Some(error), ..Run::default() },
    };
    let mut run = Run { attempted: acknowledged.clone(), acknowledged, error: None };
    for _ in 0..batches {
        let batch = random_batch(&mut rng, &run.acknowledged);
        run.attempted.apply(&batch);
        node.begin(batch);
        disk.complete();
        match node.poll() {
            Poll::Ready(Ok(())) => run.acknowledged = run.attempted.clone(),
            Poll::Ready(Err(error)) => {
                run.error = Some(error);
                break;
            }
            Poll::Pending => panic!("it was completed"),
        }
    }
    run
}

/// Opens what a crash left, and says what is wrong with it.
fn check(disk: &SimDisk, run: &Run) -> Result<Stored, String> {
    let found = disk.clone().load().map_err(|error| format!("it does not open: {error}"))?;
    if found == run.acknowledged || found == run.attempted {
        return Ok(found);
    }
    Err(format!("found {}, acknowledged {}", brief(&found), brief(&run.acknowledged)))
}

fn brief(stored: &Stored) -> String {
    let log = (stored.entries.first().map(|first| first.index), stored.entries.last().map(|last| last.index));
    let snapshot = stored.snapshot.as_ref().map(|snapshot| snapshot.index);
    format!("{:?} snapshot {snapshot:?} log {log:?}", stored.hard_state)
}

fn fresh() -> SimDisk {
    SimDisk::new(Engine::Redb, "n1")
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let seeds = seeds(32);
    let mut points = 0;
    let mut completed = 0;
    for seed in 0..seeds {
        for operation in 0.. {
            let disk = fresh();
            disk.die_after(operation);
            let life = run(&disk, seed, BATCHES);
            if life.error.is_none() {
                break;
            }
            points += 1;
            let mut rng = Rng::new(seed, 2 + u64::from(operation));
            disk.crash(Loss::Power, &mut rng);
            let found = check(&disk, &life)
                .unwrap_or_else(|wrong| panic!("seed {seed}, operation {operation}: {wrong}"));
            completed += u32::from(found == life.attempted && life.attempted != life.acknowledged);
            // What survived is a disk like any other.
            let next = run(&disk, seed + 1, 1);
            assert_eq!(next.error, None);
            disk.crash(Loss::Power, &mut rng);
            check(&disk, &next).unwrap_or_else(|wrong| panic!("seed {seed}, after {operation}: {wrong}"));
        }
    }
    println!("{points} crash points; {completed} times the batch under way had made it");
    assert!(points >= seeds * 64, "{points} crash points only");
    assert!(completed > 0, "no crash came late enough to keep the batch under way");
}

#[test]
fn a_crash_during_the_reopening_loses_nothing_either() {
    let seeds = seeds(60);
    let mut points = 0;
    for seed in 0..seeds {
        let mut rng = Rng::new(seed, 0);
        let disk = fresh();
        let begun = run(&disk, seed, 3);
        assert_eq!(begun.error, None);
        disk.die_after(rng.below(20) as u32);
        let mut life = run(&disk, seed, BATCHES);
        if life.acknowledged == Stored::default() {
            life = begun;
        }
        disk.crash(Loss::Power, &mut rng);
        for operation in 0.. {
            let reopened = disk.copy();
            reopened.die_after(operation);
            if reopened.clone().load().is_ok() {
                break;
            }
            points += 1;
            reopened.crash(if rng.ratio(1, 2) { Loss::Power } else { Loss::Process }, &mut rng);
            // And once more, somewhere.
            reopened.die_after(rng.below(u64::from(operation) + 1) as u32);
            if reopened.clone().load().is_err() {
                points += 1;
                reopened.crash(Loss::Power, &mut rng);
            }
            check(&reopened, &life)
                .unwrap_or_else(|wrong| panic!("seed {seed}, operation {operation} of reopening: {wrong}"));
        }
    }
    println!("{points} crash points");
    assert!(points >= seeds * 8, "{points} crash points only");
}

#[test]
fn a_crash_during_the_first_creation_leaves_an_empty_disk() {
    let seeds = seeds(30);
    let mut points = 0;
    for seed in 0..seeds {
        for operation in 0.. {
            let disk = fresh();
            disk.die_after(operation);
            if disk.clone().load().is_ok() {
                break;
            }
            points += 1;
            let mut rng = Rng::new(seed, u64::from(operation));
            disk.crash(if seed % 2 == 0 { Loss::Power } else { Loss::Process }, &mut rng);
            let found = disk.clone().load();
            assert_eq!(found, Ok(Stored::default()), "seed {seed}, operation {operation}");
        }
    }
    println!("{points} crash points");
    assert!(points >= seeds * 10, "{points} crash points only");
}

#[test]
fn a_crash_while_the_world_lets_a_batch_take_its_time() {
    for engine in [Engine::Redb, Engine::Modelled] {
        let (mut kept, mut dropped) = (0, 0);
        for seed in 0..seeds(150) {
            let disk = SimDisk::new(engine, "n1");
            let mut life = run(&disk, seed, 2);
            let mut rng = Rng::new(seed, 3);
            let batch = random_batch(&mut rng, &life.acknowledged);
            life.attempted.apply(&batch);
            disk.clone().begin(batch);
            disk.crash(if seed % 3 == 0 { Loss::Process } else { Loss::Power }, &mut rng);
            let found =
                check(&disk, &life).unwrap_or_else(|wrong| panic!("{engine:?}, seed {seed}: {wrong}"));
            if life.attempted.entries != life.acknowledged.entries {
                match found.entries == life.attempted.entries {
                    true => kept += 1,
                    false => dropped += 1,
                }
            }
        }
        assert!(kept > 0 && dropped > 0, "{engine:?}: {kept} batches under way kept, {dropped} dropped");
    }
}

#[test]
fn a_full_or_failing_disk_says_so_and_loses_nothing() {
    let mut points = 0;
    for seed in 0..seeds(6) {
        for (kind, code) in [(FaultKind::Full, "BLX-DISK-005"), (FaultKind::Io, "BLX-DISK-006")] {
            for after_ops in 0.. {
                let disk = fresh();
                disk.arm(Fault { kind, after_ops });
                let life = run(&disk, seed, BATCHES);
                let Some(error) = &life.error else { break };
                points += 1;
                assert_eq!(error.code(), code, "seed {seed}, operation {after_ops}: {error}");
                assert!(error.to_string().contains("n1"), "{error} names the disk");
                let mut node = disk.clone();
                node.begin(WriteBatch::default());
                disk.complete();
                assert!(matches!(node.poll(), Poll::Ready(Err(_))), "it goes on after an error");
                assert!(node.load().is_err(), "it goes on after an error");
                disk.crash(Loss::Process, &mut Rng::new(seed, u64::from(after_ops)));
                check(&disk, &life)
                    .unwrap_or_else(|wrong| panic!("seed {seed}, {kind:?} {after_ops}: {wrong}"));
            }
        }
    }
    println!("{points} faults");
    assert!(points >= 500, "{points} faults only");
}

#[test]
fn a_lying_sync_is_found_out() {
    for engine in [Engine::Redb, Engine::Modelled] {
        let mut found_out = 0;
        for seed in 0..60 {
            let disk = SimDisk::new(engine, "n1");
            run(&disk, seed, 1);
            disk.lie(true);
            let life = run(&disk, seed + 1, BATCHES);
            assert_eq!(life.error, None, "a lie looks like success");
            disk.crash(Loss::Power, &mut Rng::new(seed, 2));
            found_out += u32::from(check(&disk, &life).is_err());
        }
        assert!(found_out >= 30, "{engine:?}: of 60 crashes behind a lie {found_out} were found out");
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let survivor = |seed| {
        let mut disk = fresh();
        disk.die_after(60);
        run(&disk, seed, BATCHES);
        disk.crash(Loss::Power, &mut Rng::new(seed, 2));
        disk.load().unwrap()
    };
    for seed in 0..20 {
        assert_eq!(survivor(seed), survivor(seed));
    }
}
