//! From the request to start a VM to the first line that its guest prints.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use blixard_node::request::Write;
use blixard_node::rng::Rng;
use blixard_node::spec::{Phase, VmName};

use super::super::cluster::{Cluster, PATIENCE, Place, draw};
use super::super::scribe::{record, runs};
use super::{Spread, measure_sync, rounds, timed_sync};

/// How often it is looked whether a guest has spoken: the error of what is measured.
const LOOK: Duration = Duration::from_micros(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn start_to_first_line() {
    for members in [1, 3] {
        measure("this machine's disk", members, Place::default()).await;
    }
    for members in [1, 3] {
        if let Some(place) = timed_sync(Duration::from_millis(1)) {
            measure("in memory, a sync made to take 1 ms", members, place).await;
        }
    }
}

async fn measure(what: &str, members: u64, place: Place) {
    let sync = measure_sync(&place.folder.clone().unwrap_or_else(std::env::temp_dir));
    let mut cluster = if members == 1 {
        let mut cluster = Cluster::at(1, place);
        cluster.start(1);
        cluster.until("it leads", |view| view.leader.is_some()).await;
        cluster
    } else {
        Cluster::three_at(place).await
    };
    // One on each host, so that a VM that was stopped finds its place where it was.
    let names = cluster.run_guests(members as usize).await;
    if names.is_empty() {
        return;
    }
    cluster.put_scribe_away();
    let mut rng = Rng::new(draw(), 0);
    let (mut asked, mut began, mut spoke, mut alone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds(100) {
        let name = VmName::new(names[round % names.len()].clone()).unwrap();
        let caller = cluster.caller();
        caller.change(&[Write::StopVm { name: name.clone(), generation: None }]).await;
        let stopped = |vms: &[blixard_node::request::VmView]| {
            vms.iter().any(|vm| vm.name == name && vm.phase == Phase::Stopped)
        };
        cluster.until_vms("it is stopped", stopped).await;
        tokio::time::sleep(Duration::from_millis(rng.between(50, 400))).await;

        let folder = cluster.folder().to_owned();
        let known: BTreeSet<PathBuf> = runs(&folder).into_iter().map(|(_, run)| run).collect();
        let start = Instant::now();
        let watch = tokio::task::spawn_blocking(move || first_line(&folder, &known));
        caller.change(&[Write::StartVm { name: name.clone(), generation: None }]).await;
        asked.push(start.elapsed());
        let (run, appeared, said) = watch.await.unwrap();
        began.push(appeared - start);
        spoke.push(said - start);
        alone.push(qemu_alone(&run));
    }
    let (asked, began, spoke, alone) = (Spread(asked), Spread(began), Spread(spoke), Spread(alone));
    let ours = spoke.at(50).saturating_sub(alone.at(50));
    let late = spoke.at(99).saturating_sub(alone.at(50));
    println!(
        "{members} member(s), {what} (sync: {sync})\n  \
         answered           {asked}\n  run begins         {began}\n  first line         {spoke}\n  \
         QEMU alone         {alone}\n  share that is ours median {ours:.1?}, p99 {late:.1?}"
    );
}

/// Waits for a run that is not `known` and for its guest's first line: the run's folder, and when either was seen.
fn first_line(folder: &Path, known: &BTreeSet<PathBuf>) -> (PathBuf, Instant, Instant) {
    let (began, mut seen) = (Instant::now(), None);
    loop {
        assert!(began.elapsed() < PATIENCE, "no guest has spoken");
        std::thread::sleep(LOOK);
        if seen.is_none() {
            let new = runs(folder).into_iter().find(|(_, run)| !known.contains(run));
            seen = new.map(|(_, run)| (run, Instant::now()));
        }
        if let Some((run, appeared)) = &seen
            && fs::read(run.join("output")).is_ok_and(|text| text.contains(&b'\n'))
        {
            return (run.clone(), *appeared, Instant::now());
        }
    }
}

/// How long QEMU takes to its guest's first line when a run's command is started by hand.
fn qemu_alone(run: &Path) -> Duration {
    let record = record(run).unwrap();
    let command = record["plan"]["command"].as_array().unwrap();
    let command: Vec<&str> = command.iter().map(|part| part.as_str().unwrap()).collect();
    // Without the line to a supervisor, which would tell it to go on: there is none.
    let at = |what: &str| command.iter().position(|part| part.contains(what)).map(|value| [value - 1, value]);
    let mut left_out: Vec<usize> =
        [at("id=control"), at("chardev=control")].into_iter().flatten().flatten().collect();
    left_out.extend(command.iter().position(|part| *part == "-S"));
    let mut args = command.iter().enumerate().filter(|(at, _)| !left_out.contains(at)).map(|(_, part)| part);
    let began = Instant::now();
    let program = args.next().unwrap();
    let mut process =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    process.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let spoke = began.elapsed();
    process.kill().unwrap();
    process.wait().unwrap();
    spoke
}
