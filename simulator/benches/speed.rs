//! How fast the simulator is: `cargo bench -p blixard-sim`. One core, `scenarios/partition.toml`, both disks.
//! Prints virtual seconds a wall second (the median of several seeds, with the slowest and the fastest), virtual seconds a
//! second of CPU time over all seeds, which other work on the machine disturbs less, and the peak memory.

use std::path::Path;

use blixard_node::time::Duration;
use blixard_sim::output::Stopwatch;
use blixard_sim::scenario::{Outcome, Scenario, Storage};
use blixard_sim::world::{self, Sabotage};

/// Seeds measured for each disk.
const SEEDS: u64 = 7;
/// Virtual seconds of the safety phase.
const MODELLED: Duration = Duration::from_secs(3_000);
const REDB: Duration = Duration::from_secs(300);

/// Speeds by wall clock, ascending, and the speed by CPU time.
fn measure(scenario: &Scenario) -> (Vec<u64>, u64) {
    let mut virtual_ms = 0;
    let cpu_before = cpu_ms();
    let mut speeds: Vec<u64> = (0..SEEDS)
        .map(|seed| {
            let watch = Stopwatch::start();
            let report = world::run(scenario, seed, Sabotage::default(), None);
            let wall_us = watch.elapsed_us().max(1);
            assert_eq!(report.outcome, Outcome::Held, "seed {seed}: {:?}", report.violation);
            virtual_ms += report.virtual_ms;
            report.virtual_ms * 1_000 / wall_us
        })
        .collect();
    speeds.sort_unstable();
    (speeds, virtual_ms / (cpu_ms() - cpu_before).max(1))
}

/// CPU time of this process so far, in milliseconds; the kernel counts in hundredths of a second.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads its own CPU time")]
fn cpu_ms() -> u64 {
    let stat = std::fs::read("/proc/self/stat").unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // Behind the command's name, which may hold anything, user and system time are the fields 12 and 13.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads its own memory use")]
fn peak_memory_mib() -> Option<u64> {
    let status = String::from_utf8(std::fs::read("/proc/self/status").ok()?).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1_024)
}

fn main() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/partition.toml");
    let text = std::fs::read_to_string(&file).expect("scenarios/partition.toml");
    let mut scenario =
        Scenario::parse("scenarios/partition.toml", &text).unwrap_or_else(|why| panic!("{why}"));
    for (name, storage, duration) in
        [("modelled disk", Storage::Modelled, MODELLED), ("redb", Storage::Redb, REDB)]
    {
        scenario.cluster.storage = storage;
        scenario.run.duration = duration;
        let (speeds, by_cpu) = measure(&scenario);
        let (slowest, median, fastest) = (speeds[0], speeds[speeds.len() / 2], speeds[speeds.len() - 1]);
        println!(
            "{name:14} {median:6} virtual s a wall s (slowest {slowest}, fastest {fastest}; {SEEDS} seeds), {by_cpu} a CPU s"
        );
    }
    match peak_memory_mib() {
        Some(mib) => println!("peak memory    {mib:6} MiB"),
        None => println!("peak memory    unknown on this system"),
    }
}
