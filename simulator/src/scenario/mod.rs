//! Scenario files: a cluster, its work, what goes wrong, and what is expected. Strict: what is not understood is refused
//! with its place. Every key is documented in `docs/scenarios.md`.

mod drawn;
mod fault;
mod find;
mod operation;
mod page;
mod reader;
mod sections;
mod sites;
mod value;
mod write;

use std::collections::BTreeSet;
use std::ops::Range;

use blixard_node::config::RaftConfig;
use blixard_node::time::Duration;
use toml::de::{DeTable, DeValue};

pub use drawn::{Part, Swarm};
pub use fault::{Aim, Among, CrashPoint, Fault, FaultKind, When};
pub use find::{find, find_all};
pub use operation::{Call, Operation};
pub use page::reference;
pub use reader::{Key, Problem};
pub use sections::{
    Clock, Cluster, Disk, Expect, Hypervisor, Network, Outcome, Process, Run, Storage, Workload,
};
pub use sites::{Buggify, Site};
pub use value::{Chance, Spread, Value, duration};

use reader::{Complaint, Table};

/// The most hosts a scenario has.
pub const HOSTS_MAX: u64 = 64;

/// A whole scenario.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scenario {
    /// Its name, for people.
    pub name: String,
    /// What it tries, for people.
    pub description: String,
    /// The seed it was recorded with, by which `replay` runs it.
    pub seed: Option<u64>,
    /// Who takes part.
    pub cluster: Cluster,
    /// How long.
    pub run: Run,
    /// What the clients do.
    pub workload: Workload,
    /// The links.
    pub network: Network,
    /// The disks.
    pub disk: Disk,
    /// The clocks.
    pub clock: Clock,
    /// The processes.
    pub process: Process,
    /// The hypervisors.
    pub hypervisor: Hypervisor,
    /// What is legal and rare.
    pub buggify: Buggify,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What the clients do, if it is not drawn.
    pub operations: Vec<Operation>,
    /// What it should come to.
    pub expect: Expect,
    /// What of it is drawn from the seed.
    pub swarm: Swarm,
}

const TABLES: [&str; 16] = [
    "name",
    "description",
    "seed",
    "cluster",
    "run",
    "workload",
    "network",
    "disk",
    "clock",
    "process",
    "hypervisor",
    "buggify",
    "fault",
    "operation",
    "expect",
    "swarm",
];

impl Scenario {
    /// Reads a scenario; `file` is how messages call it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        let root = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            Complaint::new(at, error.message().replace('\n', ", ")).in_file(file, text)
        })?;
        Self::read(root.get_ref()).map_err(|complaint| complaint.in_file(file, text))
    }

    /// Every section with its keys, for the documentation.
    #[must_use]
    pub fn keys() -> Vec<(&'static str, Vec<Key>)> {
        vec![
            (Cluster::TABLE, Cluster::keys()),
            (Run::TABLE, Run::keys()),
            (Workload::TABLE, Workload::keys()),
            (Network::TABLE, Network::keys()),
            (Disk::TABLE, Disk::keys()),
            (Clock::TABLE, Clock::keys()),
            (Process::TABLE, Process::keys()),
            (Hypervisor::TABLE, Hypervisor::keys()),
            (Buggify::TABLE, Buggify::keys()),
            ("fault", Fault::keys()),
            ("operation", Operation::keys()),
            (Expect::TABLE, Expect::keys()),
            (Swarm::TABLE, Swarm::keys()),
        ]
    }

    /// Hosts there are in all.
    #[must_use]
    pub fn hosts(&self) -> u64 {
        self.cluster.voters + self.cluster.workers + self.cluster.spares
    }

    fn read(root: &DeTable<'_>) -> Result<Self, Complaint> {
        let mut root = Table::new("the scenario", 0, root);
        let mut scenario = Self {
            name: root.take("name")?.ok_or_else(|| Complaint::new(0, "the scenario has no `name`"))?,
            description: root.take("description")?.unwrap_or_default(),
            seed: seed(&mut root)?,
            ..Self::default()
        };
        let mut written = BTreeSet::new();
        let mut note = |part, table: &Table<'_, '_>| {
            written.extend(table.written().map(|key| (part, key.to_owned())));
        };
        if let Some(mut table) = section(&mut root, Cluster::TABLE)? {
            scenario.cluster = Cluster::read(&mut table)?;
            note(Part::Cluster, &table);
            check_cluster(&scenario.cluster, &table)?;
        }
        if let Some(mut table) = section(&mut root, Run::TABLE)? {
            scenario.run = Run::read(&mut table)?;
            note(Part::Run, &table);
            check_run(&scenario.run, &table)?;
        }
        if let Some(mut table) = section(&mut root, Workload::TABLE)? {
            scenario.workload = Workload::read(&mut table)?;
            note(Part::Workload, &table);
            check_workload(&scenario, &table)?;
        }
        if let Some(mut table) = section(&mut root, Network::TABLE)? {
            scenario.network = Network::read(&mut table)?;
            note(Part::Network, &table);
            check_network(&scenario.network, &table)?;
        }
        if let Some(mut table) = section(&mut root, Disk::TABLE)? {
            scenario.disk = Disk::read(&mut table)?;
            note(Part::Disk, &table);
            at_most(&table, "latency", scenario.disk.latency.max, Duration::from_secs(60))?;
        }
        if let Some(mut table) = section(&mut root, Clock::TABLE)? {
            scenario.clock = Clock::read(&mut table)?;
            note(Part::Clock, &table);
            check_clock(&scenario, &table)?;
        }
        if let Some(mut table) = section(&mut root, Process::TABLE)? {
            scenario.process = Process::read(&mut table)?;
            note(Part::Process, &table);
            at_most(&table, "turn", scenario.process.turn.max, Duration::from_secs(1))?;
        }
        if let Some(mut table) = section(&mut root, Hypervisor::TABLE)? {
            scenario.hypervisor = Hypervisor::read(&mut table)?;
            note(Part::Hypervisor, &table);
        }
        if let Some(mut table) = section(&mut root, Buggify::TABLE)? {
            scenario.buggify = Buggify::read(&mut table)?;
            note(Part::Buggify, &table);
        }
        if let Some(mut table) = section(&mut root, Expect::TABLE)? {
            scenario.expect = Expect::read(&mut table)?;
        }
        if let Some(mut table) = section(&mut root, Swarm::TABLE)? {
            scenario.swarm = Swarm::read(&mut table, keys_of_part)?;
            written.retain(|(part, key)| {
                scenario.swarm.parts.contains(part) && !scenario.swarm.keys.contains(&(*part, key.clone()))
            });
            scenario.swarm.kept = written;
        }
        scenario.faults = faults(&mut root, &scenario)?;
        scenario.operations = operations(&mut root, &scenario)?;
        root.finish(&TABLES)?;
        Ok(scenario)
    }
}

fn keys_of_part(part: Part) -> Vec<&'static str> {
    let keys = match part {
        Part::Cluster => Cluster::keys(),
        Part::Run => Run::keys(),
        Part::Workload => Workload::keys(),
        Part::Network => Network::keys(),
        Part::Disk => Disk::keys(),
        Part::Clock => Clock::keys(),
        Part::Process => Process::keys(),
        Part::Hypervisor => Hypervisor::keys(),
        Part::Buggify => Buggify::keys(),
        Part::Faults => Vec::new(),
    };
    keys.into_iter().map(|key| key.name).collect()
}

fn section<'a, 'i>(root: &mut Table<'a, 'i>, name: &str) -> Result<Option<Table<'a, 'i>>, Complaint> {
    match root.raw(name) {
        None => Ok(None),
        Some((Range { start, .. }, DeValue::Table(table))) => {
            Ok(Some(Table::new(format!("[{name}]"), start, table)))
        }
        Some((span, _)) => Err(Complaint::new(span.start, format!("`{name}` is a table: write [{name}]"))),
    }
}

/// As text or, where TOML's numbers go so far, as a number.
fn seed(root: &mut Table<'_, '_>) -> Result<Option<u64>, Complaint> {
    let Some((span, value)) = root.raw("seed") else { return Ok(None) };
    let seed = match value {
        DeValue::String(text) => {
            text.parse().map_err(|_| format!("{text:?} is no seed: write a whole number below 2^64"))
        }
        number => u64::read(number),
    };
    seed.map(Some).map_err(|why| Complaint::new(span.start, format!("`seed`: {why}")))
}

/// The tables of a list of tables, each with its place in the file.
fn tables<'a, 'i>(root: &mut Table<'a, 'i>, name: &str) -> Result<Vec<(usize, &'a DeTable<'i>)>, Complaint> {
    let complain = |at| Complaint::new(at, format!("`{name}` is a list of tables: write [[{name}]]"));
    let Some((span, value)) = root.raw(name) else { return Ok(Vec::new()) };
    let DeValue::Array(list) = value else { return Err(complain(span.start)) };
    let table = |each: &'a toml::Spanned<DeValue<'i>>| match each.get_ref() {
        DeValue::Table(table) => Ok((each.span().start, table)),
        _ => Err(complain(each.span().start)),
    };
    list.iter().map(table).collect()
}

fn faults(root: &mut Table<'_, '_>, scenario: &Scenario) -> Result<Vec<Fault>, Complaint> {
    let mut faults = Vec::new();
    for (at, table) in tables(root, "fault")? {
        let fault = Fault::read(at, table)?;
        let is_host = |node: &&u64| (1..=scenario.hosts()).contains(*node);
        if let Some(node) = fault.node.iter().chain(&fault.hosts).find(|node| !is_host(node)) {
            let key = if fault.node == Some(*node) { "node" } else { "hosts" };
            return Err(Complaint::new(
                at,
                format!("`{key}`: there are hosts 1 to {}, no {node}", scenario.hosts()),
            ));
        }
        if fault.kind == FaultKind::MemberAdd && scenario.cluster.spares == 0 {
            return Err(Complaint::new(at, "member-add needs a host to add: set `spares` in [cluster]"));
        }
        faults.push(fault);
    }
    Ok(faults)
}

fn operations(root: &mut Table<'_, '_>, scenario: &Scenario) -> Result<Vec<Operation>, Complaint> {
    let mut operations = Vec::new();
    for (place, (at, table)) in tables(root, "operation")?.into_iter().enumerate() {
        let operation = Operation::read(at, place, table)?;
        let below = |key: &str, value: u64, bound: u64, of: &str| {
            let why = format!("`{key}`: {value} is not below {bound}, the value of {of}");
            if value < bound { Ok(()) } else { Err(Complaint::new(at, why)) }
        };
        below("client", operation.client, scenario.workload.clients, "workload.clients")?;
        below("vm", operation.vm, scenario.workload.vms, "workload.vms")?;
        operations.push(operation);
    }
    Ok(operations)
}

fn bounds(table: &Table<'_, '_>, key: &str, value: u64, low: u64, high: u64) -> Result<(), Complaint> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(table.complain(key, format!("{value} is not from {low} to {high}")))
}

fn at_most(table: &Table<'_, '_>, key: &str, value: Duration, most: Duration) -> Result<(), Complaint> {
    if value <= most {
        return Ok(());
    }
    Err(table.complain(key, format!("{value} is longer than {most}")))
}

fn at_least(table: &Table<'_, '_>, key: &str, value: Duration, least: Duration) -> Result<(), Complaint> {
    if value >= least {
        return Ok(());
    }
    Err(table.complain(key, format!("{value} is shorter than {least}")))
}

fn check_cluster(cluster: &Cluster, table: &Table<'_, '_>) -> Result<(), Complaint> {
    if !(1..=7).contains(&cluster.voters) || cluster.voters.is_multiple_of(2) {
        return Err(table.complain("voters", format!("{} is not 1, 3, 5 or 7", cluster.voters)));
    }
    bounds(table, "workers", cluster.workers, 0, HOSTS_MAX - 7)?;
    bounds(table, "spares", cluster.spares, 0, HOSTS_MAX - 7)?;
    if cluster.voters + cluster.workers + cluster.spares > HOSTS_MAX {
        return Err(table.complain("workers", format!("more than {HOSTS_MAX} hosts in all")));
    }
    bounds(table, "host_vcpus", cluster.host_vcpus, 1, 65_536)?;
    bounds(table, "host_memory_mib", cluster.host_memory_mib, 1, 1 << 30)?;
    at_least(table, "tick", cluster.tick, Duration::from_millis(1))?;
    bounds(table, "heartbeat_ticks", cluster.heartbeat_ticks, 1, 1_000)?;
    if cluster.election_ticks <= cluster.heartbeat_ticks || cluster.election_ticks > 10_000 {
        let (election, heartbeat) = (cluster.election_ticks, cluster.heartbeat_ticks);
        let why = format!("{election} must be above heartbeat_ticks ({heartbeat}) and at most 10000");
        return Err(table.complain("election_ticks", why));
    }
    bounds(table, "snapshot_every", cluster.snapshot_every, 1, 1 << 40)?;
    bounds(table, "chunk_bytes", cluster.chunk_bytes, 1, 1 << 30)?;
    bounds(table, "append_bytes_max", cluster.append_bytes_max, 0, 1 << 40)?;
    bounds(table, "inflight_max", cluster.inflight_max, 1, 1 << 20)?;
    bounds(table, "uncommitted_bytes_max", cluster.uncommitted_bytes_max, 1, 1 << 40)?;
    if cluster.uncommitted_bytes_max <= cluster.append_bytes_max {
        let (uncommitted, append) = (cluster.uncommitted_bytes_max, cluster.append_bytes_max);
        let why = format!("{uncommitted} must be above append_bytes_max ({append})");
        return Err(table.complain("uncommitted_bytes_max", why));
    }
    let (inflight, appends) = (cluster.inflight_max, cluster.append_bytes_max);
    if inflight.saturating_mul(appends) > RaftConfig::APPENDS_LEN_MAX {
        let most = RaftConfig::APPENDS_LEN_MAX;
        let why = format!(
            "{inflight} times append_bytes_max ({appends}) must be at most {most}: it may become one message"
        );
        return Err(table.complain("inflight_max", why));
    }
    bounds(table, "requests_max", cluster.requests_max, 1, 1 << 20)?;
    bounds(table, "forwards_max", cluster.forwards_max, 1, 1 << 20)?;
    bounds(table, "drift_bound_ppm", cluster.drift_bound_ppm, 0, 500_000)?;
    bounds(table, "sessions_max", cluster.sessions_max, 1, 1 << 32)?;
    bounds(table, "answers_max", cluster.answers_max, 1, 1 << 32)?;
    bounds(table, "old_hosts", cluster.old_hosts, 0, cluster.voters + cluster.workers + cluster.spares)?;
    at_least(table, "lease_ttl", cluster.lease_ttl, Duration::from_secs(1))?;
    Ok(())
}

fn check_run(run: &Run, table: &Table<'_, '_>) -> Result<(), Complaint> {
    let week = Duration::from_secs(7 * 24 * 3_600);
    at_most(table, "warmup", run.warmup, week)?;
    at_most(table, "duration", run.duration, week)?;
    at_most(table, "liveness", run.liveness, week)?;
    at_least(table, "duration", run.duration, Duration::from_millis(1))?;
    at_least(table, "liveness", run.liveness, Duration::from_millis(1))
}

fn check_workload(scenario: &Scenario, table: &Table<'_, '_>) -> Result<(), Complaint> {
    let workload = &scenario.workload;
    bounds(table, "clients", workload.clients, 0, 10_000)?;
    bounds(table, "operations_per_second", workload.operations_per_second, 0, 1_000_000)?;
    bounds(table, "vms", workload.vms, 1, 100_000)?;
    let weights = [
        workload.create,
        workload.start,
        workload.stop,
        workload.delete,
        workload.update,
        workload.get,
        workload.list,
    ];
    if weights.iter().any(|weight| *weight > 1_000_000) || weights.iter().sum::<u64>() == 0 {
        return Err(table.complain("create", "the weights must be at most 1000000 each, and not all 0"));
    }
    at_least(table, "timeout", workload.timeout, Duration::from_millis(1))?;
    bounds(table, "vm_vcpus_max", workload.vm_vcpus_max, 1, scenario.cluster.host_vcpus)?;
    bounds(table, "vm_memory_mib_max", workload.vm_memory_mib_max, 1, scenario.cluster.host_memory_mib)
}

fn check_network(network: &Network, table: &Table<'_, '_>) -> Result<(), Complaint> {
    at_least(table, "latency", network.latency.min, Duration::from_nanos(1))?;
    at_most(table, "latency", network.latency.max, Duration::from_secs(60))?;
    at_most(table, "reordering_delay", network.reordering_delay.max, Duration::from_secs(3_600))?;
    if network.loss.numerator == network.loss.denominator {
        return Err(table.complain("loss", "every message lost: no cluster could form"));
    }
    Ok(())
}

fn check_clock(scenario: &Scenario, table: &Table<'_, '_>) -> Result<(), Complaint> {
    let clock = &scenario.clock;
    at_most(table, "offset_max", clock.offset_max, Duration::from_secs(10 * 365 * 24 * 3_600))?;
    bounds(table, "drift_ppm", clock.drift_ppm, 0, 500_000)?;
    if clock.drift_ppm > scenario.cluster.drift_bound_ppm && !clock.past_bound {
        let (drift, bound) = (clock.drift_ppm, scenario.cluster.drift_bound_ppm);
        let why =
            format!("{drift} is past cluster.drift_bound_ppm ({bound}); say `past_bound = true` to mean it");
        return Err(table.complain("drift_ppm", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
