//! The production daemon on a simulated runtime: what stands around it when the runtime, its clock and its network are
//! madsim's or turmoil's.
//!
//! Nothing in here knows which of the two it is. The daemon is the one that `blixard node` runs; simulated are what
//! its `Parts` take: the clock, the transport, the hypervisor, and the file under the redb store.

mod client;
mod disk;
mod hypervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blixard::daemon::{self, Config, DaemonError, End, Parts};
use blixard::net::Transport;
use blixard_node::command::HostSpec;
use blixard_node::config::{NodeConfig, RaftConfig, Settings};
use blixard_node::ids::NodeId;
use blixard_node::spec::Resources;
use blixard_runtime::store::RedbDisk;
use blixard_runtime::{Clock, DiskError};

pub use client::{Client, all_run, is_settled, vote};
pub use disk::MemoryHome;
pub use hypervisor::{Guests, Host, run_twice};

/// The port of every daemon.
pub const PORT: u16 = 7001;

/// The hypervisor's name in VM specs.
pub const HYPERVISOR: &str = "simulated";

/// A host and what on it outlives its daemons: the store's file, and the VMs.
#[derive(Debug)]
pub struct Site {
    /// The member's id.
    pub id: u64,
    /// Where its daemon is reached.
    pub address: String,
    /// Its VMs.
    pub host: Host,
    disk: MemoryHome,
    seed: u64,
    starts: AtomicU64,
}

impl Site {
    /// A host that has never run a daemon.
    #[must_use]
    pub fn new(id: u64, address: String, seed: u64) -> Arc<Self> {
        let disk = MemoryHome::new(format!("member {id}'s store"));
        Arc::new(Self { id, address, host: Host::default(), disk, seed, starts: AtomicU64::new(0) })
    }

    /// Runs a daemon here, which begins a cluster or joins through `through`, until it ends or is dropped.
    ///
    /// # Errors
    /// The daemon's.
    pub async fn run<C>(
        &self,
        through: Option<&Self>,
        clock: C,
        transport: Transport,
    ) -> Result<End, DaemonError>
    where
        C: Clock + Clone + Send + 'static,
    {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let peers: Vec<_> =
            through.iter().map(|member| (NodeId(member.id), member.address.clone())).collect();
        let host = HostSpec {
            address: self.address.clone(),
            capacity: Resources { vcpus: 8, memory_mib: 4_096 },
            labels: [(format!("hypervisor.{HYPERVISOR}"), "true".to_owned())].into(),
        };
        let mut node = NodeConfig::new(NodeId(self.id), host, peers);
        // A log this short is cut while the test runs, so members that were away need a snapshot.
        node.raft = RaftConfig { snapshot_every: 64, keep_entries: 16, ..node.raft };
        let config = Config {
            bootstrap: through.is_none(),
            node,
            settings: Settings { voters_max: 3, ..Settings::default() },
            seed: self.seed ^ (self.id << 48) ^ (start << 32),
            own_thread: false,
        };
        let (mut disk, host, guests_clock) = (self.disk.clone(), self.host.clone(), clock.clone());
        let parts = Parts {
            clock,
            open_disk: move || -> Result<_, DiskError> { RedbDisk::open(&mut disk) },
            open_hypervisor: move |sink| Ok(Guests::open(host, guests_clock, sink)),
            transport,
            runs: None,
        };
        daemon::run(config, parts, std::future::pending()).await
    }
}
