//! The sections of a scenario file. The documentation of the keys is `docs/scenarios.md`.

use blixard_node::config::{Limits, RaftConfig, Settings};
use blixard_node::time::Duration;

use super::reader::section;
use super::value::{Chance, Spread, words};

words! {
    /// What stands behind the node's `Disk`.
    pub enum Storage {
        /// An image in memory that changes by whole batches: fast.
        Modelled = "modelled",
        /// The redb store of production over a simulated device with torn sectors.
        Redb = "redb",
    }
}

words! {
    /// How a run ended.
    pub enum Outcome {
        /// Everything held.
        Held = "held",
        /// A safety property was violated, or node code panicked.
        Safety = "safety",
        /// The healed core did not come back within the bound.
        Liveness = "liveness",
        /// The faults exceeded what the design can survive.
        Inconclusive = "inconclusive",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that defines it has no place for `#[default]`")]
impl Default for Outcome {
    fn default() -> Self {
        Self::Held
    }
}

section! {
    /// Who takes part, and how the cluster is set up.
    pub struct Cluster in "cluster" {
        /// The most voters; odd, 1 to 7. The cluster grows to this number by itself.
        voters: u64 = 5,
        /// Hosts beyond the voters: agents without a replica.
        workers: u64 = 3,
        /// Hosts that are no members at first and may be added by a `member-add` fault.
        spares: u64 = 0,
        /// The disk: `"modelled"` is fast, `"redb"` is production's store over a simulated device.
        storage: Storage = Storage::Modelled,
        /// Virtual CPUs each host offers.
        host_vcpus: u64 = 32,
        /// Memory each host offers, in MiB.
        host_memory_mib: u64 = 65_536,
        /// The unit of `election_ticks` and `heartbeat_ticks`.
        tick: Duration = RaftConfig::default().tick,
        /// An election begins after this many to twice this many ticks of silence.
        election_ticks: u64 = RaftConfig::default().election_ticks,
        /// A leader is heard at least this often, in ticks.
        heartbeat_ticks: u64 = RaftConfig::default().heartbeat_ticks,
        /// A snapshot is written and the log cut after this many applied entries.
        snapshot_every: u64 = 500,
        /// Entries kept in memory below a snapshot, for followers a little behind.
        keep_entries: u64 = 50,
        /// The size of a snapshot's pieces, in bytes.
        chunk_bytes: u64 = 4_096,
        /// The most bytes read for an append at once; at least one entry goes into each, and those that wait for a follower become one message.
        append_bytes_max: u64 = RaftConfig::default().append_bytes_max,
        /// The most appends under way to one follower.
        inflight_max: u64 = RaftConfig::default().inflight_max as u64,
        /// The most bytes of proposals that are not committed yet; what comes on top is refused for now.
        uncommitted_bytes_max: u64 = RaftConfig::default().uncommitted_bytes_max,
        /// The most requests in a leader's hands.
        requests_max: u64 = Limits::default().requests_max as u64,
        /// The most requests that a node has passed on to the leader.
        forwards_max: u64 = Limits::default().forwards_max as u64,
        /// How long a request that was passed on waits for the leader's answer.
        forward_timeout: Duration = Limits::default().forward_timeout,
        /// How long an agent may run its VMs after the sending of its last acknowledged heartbeat.
        lease_ttl: Duration = Settings::default().lease_ttl,
        /// How long a hypervisor may take to kill a VM whose deadline has passed.
        kill_grace: Duration = Settings::default().kill_grace,
        /// The drift between two clocks that the cluster's settings allow for, in parts per million.
        drift_bound_ppm: u64 = Settings::default().clock_drift_ppm as u64,
        /// The most client sessions remembered.
        sessions_max: u64 = Settings::default().sessions_max,
        /// The most answers remembered per session.
        answers_max: u64 = Settings::default().answers_max,
        /// So many hosts, from the first on, begin as the version of the feature level before the newest.
        old_hosts: u64 = 0,
    }
}

section! {
    /// How long the run lasts.
    pub struct Run in "run" {
        /// The cluster forms: no faults and no clients.
        warmup: Duration = Duration::from_secs(20),
        /// The safety phase: faults and work together.
        duration: Duration = Duration::from_secs(120),
        /// The liveness phase: the healed core must have recovered within this time.
        liveness: Duration = Duration::from_secs(120),
        /// Leaves each `[[fault]]` out of half of the seeds, so that different seeds see different mixtures.
        swarm: bool = false,
        /// Skips a fault for good (`host-dead`, `disk-lost`, `member-remove`) that would leave the voters without an
        /// intact quorum: when there is none in the end, and no voter's disk has
        /// rotted, liveness is violated. Without it such a run ends as inconclusive.
        keep_quorum: bool = true,
    }
}

section! {
    /// What the clients do.
    pub struct Workload in "workload" {
        /// Clients, each with one request under way at most.
        clients: u64 = 5,
        /// Operations of all clients together begun in one virtual second.
        operations_per_second: u64 = 10,
        /// VM names in use.
        vms: u64 = 20,
        /// The weight of creating a VM.
        create: u64 = 2,
        /// The weight of starting a VM.
        start: u64 = 3,
        /// The weight of stopping a VM.
        stop: u64 = 2,
        /// The weight of deleting a VM.
        delete: u64 = 1,
        /// The weight of giving a VM another spec.
        update: u64 = 0,
        /// The weight of looking at a VM.
        get: u64 = 4,
        /// The weight of listing all VMs.
        list: u64 = 1,
        /// How often a change names the generation that the client saw last.
        with_generation: Chance = Chance::one_in(4),
        /// How long a client waits for an answer before it tries again at another node.
        timeout: Duration = Duration::from_secs(3),
        /// How long a client waits before it tries again.
        backoff: Spread = Spread::millis(20, 500),
        /// How long a client goes on with one operation before it gives up and counts the outcome as unknown.
        give_up: Duration = Duration::from_secs(15),
        /// Virtual CPUs a VM takes, at most.
        vm_vcpus_max: u64 = 4,
        /// Memory a VM takes, at most, in MiB.
        vm_memory_mib_max: u64 = 4_096,
        /// How often a VM's restart policy is not `Always`.
        restart_seldom: Chance = Chance::NEVER,
        /// How often a VM waits for its lost host instead of moving.
        failover_waits: Chance = Chance::NEVER,
        /// How often a VM has a volume on its host and so waits for it.
        local_volume: Chance = Chance::NEVER,
        /// How often a VM asks for a port of its host, one of four.
        ports: Chance = Chance::NEVER,
        /// How often a deletion leaves the VM's volumes where they are.
        keep_volumes: Chance = Chance::NEVER,
    }
}

section! {
    /// The links between hosts, and between clients and hosts.
    pub struct Network in "network" {
        /// The one-way delay of a message.
        latency: Spread = Spread::micros(200, 2_000),
        /// How often a message is lost.
        loss: Chance = Chance::NEVER,
        /// How often a message arrives twice.
        duplication: Chance = Chance::NEVER,
        /// How often a message is held back and so overtaken by later ones.
        reordering: Chance = Chance::NEVER,
        /// How long a message is held back.
        reordering_delay: Spread = Spread::millis(5, 500),
        /// How often a message travels as bytes, through the codec, instead of as a value.
        encode: Chance = Chance::NEVER,
    }
}

section! {
    /// The nodes' disks.
    pub struct Disk in "disk" {
        /// How long a turn's write takes until it is durable.
        latency: Spread = Spread::micros(200, 3_000),
        /// How often a write stalls.
        stall: Chance = Chance::NEVER,
        /// How long it stalls.
        stall_for: Spread = Spread::millis(50, 2_000),
        /// How often a write fails with an I/O error. The process ends, as it must, and starts again.
        error: Chance = Chance::NEVER,
        /// How often a write finds the disk full. The process ends and starts again.
        full: Chance = Chance::NEVER,
    }
}

section! {
    /// The hosts' clocks.
    pub struct Clock in "clock" {
        /// The most that a host has been up before the run begins: its boot-time clock starts anywhere below.
        offset_max: Duration = Duration::from_secs(3_600),
        /// How much faster one clock runs than another at most, in parts per million.
        drift_ppm: u64 = 0,
        /// Allows `drift_ppm` above `cluster.drift_bound_ppm`: the promises do not hold then.
        past_bound: bool = false,
        /// Every clock runs as fast or as slow as `drift_ppm` lets it, none at a rate between.
        at_bound: bool = false,
    }
}

section! {
    /// The processes on the hosts.
    pub struct Process in "process" {
        /// How long a turn keeps the CPU: what comes in meanwhile waits for the next turn.
        turn: Spread = Spread::micros(5, 50),
        /// How long a process takes to start again after it ended by itself.
        restart: Spread = Spread::millis(100, 2_000),
    }
}

section! {
    /// The hosts' hypervisors. The chances count per operation unless they say otherwise.
    pub struct Hypervisor in "hypervisor" {
        /// How long preparing a VM takes.
        prepare: Spread = Spread::millis(10, 500),
        /// How often preparing takes `prepare_slow_by` longer.
        prepare_slow: Chance = Chance::NEVER,
        /// How much longer.
        prepare_slow_by: Spread = Spread::millis(5_000, 60_000),
        /// How often preparing fails.
        prepare_fails: Chance = Chance::NEVER,
        /// How long a start takes.
        start: Spread = Spread::millis(50, 400),
        /// How often a start takes `start_slow_by` longer.
        start_slow: Chance = Chance::NEVER,
        /// How much longer.
        start_slow_by: Spread = Spread::millis(1_000, 15_000),
        /// How often a start fails.
        start_fails: Chance = Chance::NEVER,
        /// How often the outcome of a start cannot be told; half of those VMs came alive.
        start_uncertain: Chance = Chance::NEVER,
        /// How long a guest takes to power off when asked.
        stop: Spread = Spread::millis(50, 2_000),
        /// How often a guest ignores being asked, until it is killed.
        stop_hangs: Chance = Chance::NEVER,
        /// How long a kill takes; never past the kill grace of a deadline.
        kill: Spread = Spread::millis(1, 500),
        /// How long an answer is under way; also that of a list and the news of an exit.
        answer: Spread = Spread::millis(0, 5),
        /// How often a completion comes `answer_late_by` later.
        answer_late: Chance = Chance::NEVER,
        /// How much later.
        answer_late_by: Spread = Spread::millis(100, 5_000),
        /// How often a completion comes twice.
        answer_doubled: Chance = Chance::NEVER,
        /// How often a completion is lost although the operation was carried out.
        answer_lost: Chance = Chance::NEVER,
        /// How often the exit of a VM goes unreported; only a list shows it.
        exit_silent: Chance = Chance::NEVER,
        /// How often, per run, the guest crashes within `lifetime`.
        guest_crashes: Chance = Chance::NEVER,
        /// How often, per run, the guest powers itself off within `lifetime`.
        guest_powers_off: Chance = Chance::NEVER,
        /// How often, per run, the supervisor dies within `lifetime` and takes the VM with it.
        supervisor_dies: Chance = Chance::NEVER,
        /// When, counted from the start, the three above happen.
        lifetime: Spread = Spread::millis(100, 60_000),
        /// How often a guest lives but never gets ready after a start: it is listed as starting until it is killed.
        never_ready: Chance = Chance::NEVER,
        /// How often, per run, the hypervisor has no way to ask its guest to power off, and says so.
        stop_unsupported: Chance = Chance::NEVER,
        /// How often, per run, the guest hangs within `lifetime`: it lives on and hears nothing.
        guest_wedges: Chance = Chance::NEVER,
        /// How often, per run, somebody starts the VM a second time within `lifetime`: that fails on the disk's lock and takes the
        /// first one's control path, which lives on and hears nothing.
        control_stolen: Chance = Chance::NEVER,
        /// How often a guest's crash is told as a power-off, being a reset with exit status 0.
        crash_as_reset: Chance = Chance::NEVER,
        /// How often, of a guest's own end, only the closed socket is seen; it is told as a crash.
        exit_only_eof: Chance = Chance::NEVER,
        /// How often a run that ended in the agent's absence, or by a reboot, leaves a socket by which the next agent takes
        /// it for alive.
        stale_socket: Chance = Chance::NEVER,
        /// For how long it does.
        stale_socket_for: Spread = Spread::millis(100, 5_000),
        /// How often the process id of a run that ended in the agent's absence is another process's by then, so that the
        /// next agent takes it for alive.
        pid_reused: Chance = Chance::NEVER,
        /// For how long it does.
        pid_reused_for: Spread = Spread::millis(5_000, 120_000),
        /// How often a preparation is ended after `prepare_slow_by` because it takes too long.
        prepare_times_out: Chance = Chance::NEVER,
        /// How often a preparation takes `prepare_slow_by` longer and holds a lock that all later ones on its host wait
        /// for.
        prepare_locks: Chance = Chance::NEVER,
        /// How often a preparation finds the disk for builds, volumes and records full: until there is space again nothing
        /// is prepared or started, and no exit is written down for the next agent.
        no_space: Chance = Chance::NEVER,
        /// For how long it is full.
        no_space_for: Spread = Spread::millis(1_000, 20_000),
        /// How often removing what is kept for a deleted VM fails.
        purge_fails: Chance = Chance::NEVER,
        /// How many of the VMs are built and named by what was built, which all their hosts have to agree on.
        builds: Chance = Chance::NEVER,
        /// How often a host builds something else for such a VM than the others.
        builds_differ: Chance = Chance::NEVER,
        /// How often the news of an exit comes `exit_late_by` later; the VM may have been started anew by then.
        exit_late: Chance = Chance::NEVER,
        /// How much later.
        exit_late_by: Spread = Spread::millis(500, 10_000),
        /// How often a list of what runs comes `list_late_by` after it was made.
        list_late: Chance = Chance::NEVER,
        /// How much later.
        list_late_by: Spread = Spread::millis(500, 10_000),
    }
}

section! {
    /// What the run is expected to come to.
    pub struct Expect in "expect" {
        /// The outcome that tests and sweeps count as a success.
        outcome: Outcome = Outcome::Held,
        /// The property that is violated, where a violation is expected.
        property: String = String::new(),
        /// The hash over the log of the run with the scenario's own seed, in hexadecimal.
        trace: String = String::new(),
    }
}
