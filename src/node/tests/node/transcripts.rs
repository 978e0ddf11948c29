//! Transcripts: commands in, what the nodes did out. `UPDATE_TRANSCRIPTS=1 cargo test -p blixard-node --test node`
//! rewrites them; the difference is then read by a person.
//!
//! A file is blocks of a command line, `----`, and the outcome. Commands:
//!
//! ```text
//! cluster [key=value …]      a first node; keys are those of the raft configuration
//! add 2 3                    nodes that join
//! run 5s                     lets time pass
//! cut 1 2 / mend 1 2 / mend  cuts or mends a link, both ways
//! cut-one-way 1 2            nothing arrives at 2 from 1
//! isolate 1                  cuts all links of a node
//! crash 1 / open 1           ends a process / opens it from its disk
//! hold 1 2 ack / release     holds back messages of a kind on a link / lets them go
//! create|start|stop|delete web [at 2]
//! show                       every node, every VM, what really runs
//! ```

use std::fmt::Write as _;

use crate::cluster::{Cluster, name, spec};
use blixard_node::config::RaftConfig;
use blixard_node::request::{Response, Write};
use blixard_node::time::Duration;

fn span(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(number) => Duration::from_millis(number.parse().unwrap()),
        None => Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap()),
    }
}

fn ids<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u64> {
    words.map(|word| word.parse().unwrap()).collect()
}

fn new_cluster<'a>(words: impl Iterator<Item = &'a str>) -> Cluster {
    let mut raft = RaftConfig::default();
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        let value: u64 = value.parse().unwrap();
        match key {
            "snapshot_every" => raft.snapshot_every = value,
            "keep_entries" => raft.keep_entries = value,
            "chunk_bytes" => raft.chunk_bytes = value as usize,
            _ => panic!("unknown key {key}"),
        }
    }
    Cluster::new(42, raft)
}

fn set_link(cluster: &mut Cluster, one: u64, other: u64, whole: bool) {
    for link in [(one, other), (other, one)] {
        if whole {
            cluster.cut.remove(&link);
        } else {
            cluster.cut.insert(link);
        }
    }
}

fn write(cluster: &mut Cluster, verb: &str, words: &[&str]) -> String {
    let vm = name(words[0]);
    let at = words.get(2).map(|id| id.parse().unwrap()).or(cluster.leader());
    let Some(at) = at else { return "no leader\n".into() };
    let write = match verb {
        "create" => Write::CreateVm { name: vm, spec: spec() },
        "start" => Write::StartVm { name: vm, generation: None },
        "stop" => Write::StopVm { name: vm, generation: None },
        _ => Write::DeleteVm { name: vm, generation: None, keep_volumes: false },
    };
    let ticket = cluster.write(at, write);
    cluster.run(Duration::from_millis(500));
    match cluster.replies.get(&ticket) {
        None => "no answer\n".into(),
        Some(Ok(Response::Written { revision, generation })) => format!("{revision} {generation}\n"),
        Some(Ok(other)) => format!("{other:?}\n"),
        Some(Err(error)) => format!("{}: {error}\n", error.code()),
    }
}

fn show(cluster: &Cluster) -> String {
    let mut text = String::new();
    for (id, machine) in &cluster.machines {
        let Some(node) = &machine.node else {
            let _ = writeln!(text, "n{id} down");
            continue;
        };
        let view = node.consensus();
        let role = if view.is_leader { "leader" } else { "follower" };
        let _ = writeln!(
            text,
            "n{id} {role} term={} commit={} log={}..{} set={} lease={}",
            view.term,
            view.commit,
            view.first_index,
            view.last_index,
            node.set_revision(),
            if node.lease_end().is_some() { "held" } else { "none" },
        );
    }
    let newest = cluster.machines.values().filter_map(|machine| machine.node.as_ref()?.state());
    if let Some(state) = newest.max_by_key(|state| state.revision) {
        for vm in state.vms.values() {
            let at = vm.assigned.map_or("nowhere".into(), |(node, epoch)| format!("{node} {epoch}"));
            let _ =
                writeln!(text, "{} {} wanted={:?} at {at} {}", vm.name, vm.generation, vm.wanted, vm.phase);
        }
    }
    for (host, run) in cluster.running() {
        let _ = writeln!(text, "host {host} runs {} {}", run.vm, run.epoch);
    }
    text
}

fn carry_out(cluster: &mut Option<Cluster>, command: &str) -> String {
    let mut words = command.split_whitespace();
    let verb = words.next().unwrap_or_default();
    if verb == "cluster" {
        let mut new = new_cluster(words);
        new.tell = true;
        *cluster = Some(new);
        return String::new();
    }
    let cluster = cluster.as_mut().expect("`cluster` comes first");
    let rest: Vec<&str> = words.collect();
    let mut answer = String::new();
    match verb {
        "add" => ids(rest.into_iter()).into_iter().for_each(|id| cluster.add(id)),
        "run" => cluster.run(span(rest[0])),
        "cut" | "mend" if rest.len() == 2 => {
            let pair = ids(rest.into_iter());
            set_link(cluster, pair[0], pair[1], verb == "mend");
        }
        "cut-one-way" => {
            let pair = ids(rest.into_iter());
            cluster.cut.insert((pair[0], pair[1]));
        }
        "mend" => cluster.cut.clear(),
        "isolate" => {
            let id: u64 = rest[0].parse().unwrap();
            let others: Vec<u64> = cluster.machines.keys().copied().filter(|other| *other != id).collect();
            others.into_iter().for_each(|other| set_link(cluster, id, other, false));
        }
        "crash" => cluster.crash(rest[0].parse().unwrap()),
        "open" => cluster.open(rest[0].parse().unwrap()),
        "hold" => {
            let kind = ["raft", "ack", "heartbeat"].into_iter().find(|kind| *kind == rest[2]).unwrap();
            cluster.hold = Some((rest[0].parse().unwrap(), rest[1].parse().unwrap(), kind));
        }
        "release" => cluster.let_go(),
        "show" => answer = show(cluster),
        _ => answer = write(cluster, verb, &rest),
    }
    std::mem::take(&mut cluster.log) + &answer
}

fn replay(text: &str) -> String {
    let mut cluster = None;
    let mut out = String::new();
    for block in text.split("\n\n") {
        let command: Vec<&str> = block.lines().take_while(|line| *line != "----").collect();
        for line in command {
            let _ = writeln!(out, "{line}");
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let _ = writeln!(out, "----\n{}", carry_out(&mut cluster, line));
        }
    }
    out
}

#[expect(clippy::disallowed_methods, reason = "a transcript is rewritten on request")]
fn check(file: &str) {
    let path = format!("{}/tests/data/{file}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let now = replay(&text);
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        std::fs::write(&path, now).unwrap();
    } else {
        assert!(
            now == text,
            "{file}: the nodes did something else.\n\n{now}\n\nUPDATE_TRANSCRIPTS=1 rewrites it"
        );
    }
}

#[test]
fn elections() {
    check("elections");
}

#[test]
fn a_partition_healed() {
    check("partition_healed");
}

#[test]
fn a_snapshot_catches_a_follower_up() {
    check("snapshot_catches_up");
}

#[test]
fn a_lease_lost() {
    check("lease_lost");
}

#[test]
fn a_stale_assignment_refused() {
    check("stale_assignment_refused");
}

#[test]
fn a_deaf_host() {
    check("deaf_host");
}
