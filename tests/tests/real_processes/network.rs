//! A network of the members' own, made of namespaces: each member has one, and all hang at a bridge in another one, to which the
//! test's own thread belongs. Nothing of this machine's network is touched. Where time namespaces can be had, the members'
//! boot-time clocks are set days apart as well: none of them may matter to another host.

use std::path::Path;
use std::process::Command;

use blixard::hypervisor::tool;

use super::cluster::draw;

/// See the module. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    members: u64,
    /// The members have clocks of their own.
    clocks: bool,
}

/// How far the boot-time clocks of two members are apart.
const CLOCKS_APART_SECS: u64 = 1_000_000;

/// What is at the other end of a cut.
const NOBODY: &str = "02:00:00:00:00:ff";

impl Network {
    /// Makes a network for `members`; none where that is not permitted, which is said.
    pub(crate) fn new(members: u64) -> Option<Self> {
        let clocks = Command::new("unshare").args(["--time", "--boottime", "1", "true"]).output();
        let clocks = clocks.is_ok_and(|done| done.status.success());
        let network = Self { name: format!("blx{:x}", draw() & 0xff_ffff), members, clocks };
        match network.make() {
            Ok(()) => Some(network),
            Err(why) => {
                eprintln!("skipped: network namespaces need root and iproute2: {why}");
                None
            }
        }
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn host(&self, id: u64) -> String {
        format!("{}-{id}", self.name)
    }

    fn make(&self) -> Result<(), String> {
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"])?;
        ip(&["-n", &hub, "address", "add", "10.77.0.254/24", "dev", "hub"])?;
        ip(&["-n", &hub, "link", "set", "hub", "up"])?;
        for id in 1..=self.members {
            let (host, port) = (self.host(id), format!("port{id}"));
            ip(&["netns", "add", &host])?;
            ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &host])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "hub", "up"])?;
            ip(&["-n", &host, "address", "add", &format!("10.77.0.{id}/24"), "dev", "eth0"])?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            ip(&["-n", &host, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// Takes the calling thread, and all that it starts from now on, to the bridge.
    fn enter(&self) {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let hub = std::fs::File::open(format!("/run/netns/{}", self.hub())).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&hub), kind).unwrap();
    }

    pub(crate) fn address(&self, id: u64) -> String {
        format!("10.77.0.{id}:7001")
    }

    /// A command that runs `program` on a member's host.
    pub(crate) fn command(&self, id: u64, program: &Path) -> Command {
        let mut command = Command::new(tool::find("ip").unwrap());
        command.args(["netns", "exec", &self.host(id)]);
        if self.clocks {
            let ahead = (id * CLOCKS_APART_SECS).to_string();
            command.arg(tool::find("unshare").unwrap()).args(["--time", "--boottime", &ahead]);
        }
        command.arg(program);
        command
    }

    /// Pulls a member's cable, or puts it back.
    pub(crate) fn plug(&self, id: u64, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        ip(&["-n", &self.hub(), "link", "set", &format!("port{id}"), state]).unwrap();
    }

    /// What all others send to `id` reaches nobody, without a word to either; what `id` sends still arrives.
    pub(crate) fn deafen(&self, id: u64) {
        for other in (1..=self.members).filter(|other| *other != id) {
            self.neighbour(&self.host(other), "eth0", id, true);
        }
        self.neighbour(&self.hub(), "hub", id, true);
    }

    /// What `id` sends reaches nobody; what others send to it still arrives.
    pub(crate) fn silence(&self, id: u64) {
        for other in (1..=self.members).filter(|other| *other != id).chain([254]) {
            self.neighbour(&self.host(id), "eth0", other, true);
        }
    }

    /// Undoes [`Self::deafen`] and [`Self::silence`].
    pub(crate) fn heal(&self, id: u64) {
        for other in (1..=self.members).filter(|other| *other != id) {
            self.neighbour(&self.host(other), "eth0", id, false);
            self.neighbour(&self.host(id), "eth0", other, false);
        }
        self.neighbour(&self.host(id), "eth0", 254, false);
        self.neighbour(&self.hub(), "hub", id, false);
    }

    /// Whether a host takes another one to have an address that nobody has.
    fn neighbour(&self, namespace: &str, device: &str, other: u64, lost: bool) {
        let other = format!("10.77.0.{other}");
        let done = if lost {
            let fixed = ["lladdr", NOBODY, "nud", "permanent"];
            let what = ["-n", namespace, "neighbour", "replace", &other, "dev", device];
            ip(&[&what[..], &fixed[..]].concat())
        } else {
            // Fails where nothing is to be undone.
            let _ = ip(&["-n", namespace, "neighbour", "delete", &other, "dev", device]);
            Ok(())
        };
        done.unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for id in 1..=self.members {
            let _ = ip(&["netns", "delete", &self.host(id)]);
        }
        let _ = ip(&["netns", "delete", &self.hub()]);
    }
}

/// Runs a test in a network, on a thread of its own, which stays there: all that the test starts does.
pub(crate) fn in_network<F: Future<Output = ()>>(
    network: Network,
    test: impl FnOnce(Network) -> F + Send + 'static,
) {
    let thread = std::thread::spawn(move || {
        network.enter();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(network));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(args).output().map_err(|error| format!("ip: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if done.status.success() { Ok(()) } else { Err(format!("ip {}: {said}", args.join(" "))) }
}
