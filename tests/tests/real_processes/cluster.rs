//! Members as processes, each with a loopback address and a data directory of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use blixard_node::request::{ClusterView, Role, VmView};
use blixard_node::spec::Phase;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::binary::blixard;
use super::client::{Caller, qemu_spec, spec};
use super::guest::{self, Journals, Run};
use super::network::Network;
use super::processes::kill_all;
use super::scribe::{self, Scribe};

/// How long anything may take that takes a second or two on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Something different each time.
pub(crate) fn draw() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Where members are, when not on loopback addresses of this machine with their folders among the temporary ones.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Holds the cluster's folder.
    pub(crate) folder: Option<PathBuf>,
    /// A network of their own.
    pub(crate) network: Option<Network>,
    /// Variables that daemons have, and nothing that they start.
    pub(crate) env: Vec<(String, String)>,
}

/// One member: its process, if one was started and not waited for yet.
#[derive(Debug)]
struct Member {
    process: Option<Child>,
    data_dir: PathBuf,
    address: String,
}

/// Members with their VMs. All their processes are dead once this is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    pub(crate) journals: Journals,
    members: BTreeMap<u64, Member>,
    place: Place,
    /// Keeps the journals of QEMU's guests.
    scribe: Option<Scribe>,
}

impl Cluster {
    /// Members 1 to `count`, none of them started.
    pub(crate) fn new(count: u64) -> Self {
        Self::at(count, Place::default())
    }

    /// As [`Self::new`], at a place of the caller's choice.
    pub(crate) fn at(count: u64, place: Place) -> Self {
        let above = place.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new().prefix("blixard-real-").tempdir_in(above).unwrap();
        let journals = Journals::new(folder.path().join("journals"));
        // Each test has addresses of its own: ports of one address could be taken by a connection while their
        // daemon is down.
        let [a, b, ..] = draw().to_le_bytes();
        let members = (1..=count).map(|id| {
            let data_dir = folder.path().join(format!("member-{id}"));
            let address = match &place.network {
                Some(network) => network.address(id),
                None => format!("127.{}.{}.{id}:7001", 1 + a % 250, b),
            };
            (id, Member { process: None, data_dir, address })
        });
        Self { members: members.collect(), folder, journals, place, scribe: None }
    }

    /// Three members that vote, with room for any VM of a test.
    pub(crate) async fn three() -> Self {
        Self::three_at(Place::default()).await
    }

    /// As [`Self::three`], at a place of the caller's choice.
    pub(crate) async fn three_at(place: Place) -> Self {
        let mut cluster = Self::at(3, place);
        cluster.start(1);
        cluster.until("member 1 leads", |view| view.leader.is_some()).await;
        cluster.start(2);
        cluster.start(3);
        cluster.until("all vote and are healthy", all_well).await;
        cluster
    }

    /// Holds everything that is the cluster's.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The members' own network.
    pub(crate) fn network(&self) -> &Network {
        self.place.network.as_ref().expect("it was begun in one")
    }

    /// Stops keeping the journals of guests, where reading them would be in the way of a measurement.
    pub(crate) fn put_scribe_away(&mut self) {
        self.scribe = None;
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    pub(crate) fn address(&self, id: u64) -> &str {
        &self.members[&id].address
    }

    pub(crate) fn data_dir(&self, id: u64) -> &Path {
        &self.members[&id].data_dir
    }

    fn log(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("log-{id}"))
    }

    /// What a member has logged so far, in all its lives.
    pub(crate) fn logged(&self, id: u64) -> String {
        fs::read_to_string(self.log(id)).unwrap_or_default()
    }

    /// The command that starts a member.
    pub(crate) fn command(&self, id: u64) -> Command {
        self.command_in(id, self.data_dir(id))
    }

    /// The command that starts a member in a data directory of the caller's choice.
    pub(crate) fn command_in(&self, id: u64, data_dir: &Path) -> Command {
        let member = &self.members[&id];
        let mut command = match &self.place.network {
            Some(network) => network.command(id, blixard()),
            None => Command::new(blixard()),
        };
        command.env_clear().envs(self.place.env.iter().cloned()).arg("node");
        if self.place.network.is_some() {
            command.arg("--insecure");
        }
        command
            .args(["--id", &id.to_string(), "--bind", &member.address, "--vcpus", "256", "--memory", "65536"])
            .arg("--data-dir")
            .arg(data_dir)
            .stdin(Stdio::null());
        // The first one begins the cluster; later it knows the others by itself.
        for (peer, other) in self.members.iter().filter(|(peer, _)| id != 1 && **peer != id) {
            command.args(["--peer", &format!("{peer}:{}", other.address)]);
        }
        command
    }

    pub(crate) fn start(&mut self, id: u64) {
        self.start_with(id, &[]);
    }

    /// Starts a member with further arguments.
    pub(crate) fn start_with(&mut self, id: u64, args: &[&str]) {
        let log = File::options().create(true).append(true).open(self.log(id)).unwrap();
        let process =
            self.command(id).args(args).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let before = self.members.get_mut(&id).unwrap().process.replace(process);
        assert!(before.is_none(), "member {id} was started twice");
    }

    pub(crate) fn signal(&self, id: u64, signal: Signal) {
        let process = self.members[&id].process.as_ref().expect("it was started");
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// A member's process.
    pub(crate) fn pid(&self, id: u64) -> u32 {
        self.members[&id].process.as_ref().expect("it was started").id()
    }

    /// Waits for the end of a member's process.
    pub(crate) fn wait(&mut self, id: u64) -> ExitStatus {
        let mut process = self.members.get_mut(&id).unwrap().process.take().expect("it was started");
        let ended = wait(&mut process);
        ended.unwrap_or_else(|| panic!("member {id} does not end"))
    }

    /// Kills a member's daemon without a warning. Its VMs live on.
    pub(crate) fn kill(&mut self, id: u64) {
        self.signal(id, Signal::KILL);
        self.wait(id);
    }

    /// Kills a member's daemon, supervisors and VMs, as when its host loses power.
    pub(crate) fn lose_host(&mut self, id: u64) {
        self.kill(id);
        kill_all(self.data_dir(id));
    }

    // ---- what the members say

    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.members.iter().map(|(id, member)| (*id, member.address.as_str())))
    }

    /// Waits until the cluster, asked wherever somebody answers, is as wanted.
    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&ClusterView) -> bool) -> ClusterView {
        let caller = self.caller();
        let mut last = None;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            for id in self.ids() {
                last = caller.status(id, false).await.or(last);
                if let Some(view) = last.as_ref().filter(|view| fits(view)) {
                    return view.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited too long until {what}; the last answer was {last:#?}");
    }

    pub(crate) async fn leader(&self) -> u64 {
        let view = self.until("there is a leader", |view| view.leader.is_some()).await;
        view.leader.unwrap().0
    }

    /// Creates and starts `count` VMs and waits until each of them lives. Their names.
    pub(crate) async fn run_vms(&self, count: usize) -> Vec<String> {
        let caller = self.caller();
        let names: Vec<String> = (0..count).map(|number| format!("vm-{number}")).collect();
        for name in &names {
            caller.create_and_start(name, spec(&self.payload())).await;
        }
        self.until_vms("all VMs run", |vms| vms.iter().all(|vm| vm.phase == Phase::Running)).await;
        // A program that has been started takes a moment to its first word.
        self.until_alive(&names).await;
        names
    }

    /// Creates and starts `count` tiny guests under QEMU and waits until each of them lives. Their names; none where they cannot
    /// run.
    pub(crate) async fn run_guests(&mut self, count: usize) -> Vec<String> {
        let Some(kernel) = scribe::build_guest(self.folder.path()) else { return Vec::new() };
        self.scribe = Some(Scribe::new(self.folder.path(), self.journals.folder()));
        let caller = self.caller();
        let names: Vec<String> = (0..count).map(|number| format!("guest-{number}")).collect();
        for name in &names {
            caller.create_and_start(name, qemu_spec(&kernel, name)).await;
        }
        self.until_alive(&names).await;
        names
    }

    /// VMs of both kinds: processes, and guests where they can run.
    pub(crate) async fn run_both(&mut self, processes: usize, guests: usize) -> Vec<String> {
        let mut names = self.run_guests(guests).await;
        names.extend(self.run_vms(processes).await);
        names
    }

    /// Waits until all these VMs are alive, by their own word.
    pub(crate) async fn until_alive(&self, names: &[String]) -> BTreeMap<String, Run> {
        let began = Instant::now();
        loop {
            let living = self.living(names);
            if living.len() == names.len() {
                return living;
            }
            assert!(began.elapsed() < PATIENCE, "of {names:?} only {living:#?} live");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn payload(&self) -> String {
        guest::payload(self.journals.folder())
    }

    /// Waits until the VMs are as wanted.
    pub(crate) async fn until_vms(&self, what: &str, fits: impl Fn(&[VmView]) -> bool) -> Vec<VmView> {
        let caller = self.caller();
        let mut last = None;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            for id in self.ids() {
                last = caller.list(id).await.or(last);
                if let Some(vms) = last.as_ref().filter(|vms| fits(vms)) {
                    return vms.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited too long until {what}; the last answer was {last:#?}");
    }

    /// The runs that live now, by VM.
    pub(crate) fn living(&self, names: &[String]) -> BTreeMap<String, Run> {
        let alive = |name: &String| Some((name.clone(), self.journals.alive(name)?));
        names.iter().filter_map(alive).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            if let Some(process) = &mut member.process {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
        kill_all(self.folder.path());
        if std::thread::panicking() {
            for id in self.ids() {
                let log = self.logged(id);
                let lines: Vec<&str> = log.lines().collect();
                let last = lines.len().saturating_sub(60);
                eprintln!("---- log of member {id}, its end\n{}", lines[last..].join("\n"));
            }
        }
    }
}

/// Waits for the end of `process`; kills it when it takes too long.
pub(crate) fn wait(process: &mut Child) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = process.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}

/// Whether all three members vote, are in touch, and lack nothing.
pub(crate) fn all_well(view: &ClusterView) -> bool {
    let well = |role| matches!(role, Role::Leader | Role::Voter);
    let members = view.members.iter().filter(|member| well(member.role) && member.healthy);
    members.filter(|member| member.last_contact.is_some_and(|span| span.as_millis() < 3_000)).count() == 3
}
