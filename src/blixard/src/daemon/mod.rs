//! The daemon: a node, its turn loop, its connections and its server.
//!
//! ```text
//! clients ──▶ api ──┐                     ┌──▶ net::Peers ──▶ other members
//!                   ├──▶ NodeHandle ──▶ driver (turn loop)
//! members ──▶ api ──┘        ▲            └──▶ hypervisor ──┐
//!                            └──────────────────────────────┘
//! ```
//!
//! In production the turn loop has a thread of its own, because its disk blocks; under a simulated runtime it is a task.

mod clock;
mod driver;
mod events;
mod folder;
mod handle;
mod store;

use std::future::Future;
use std::sync::Arc;

use blixard_node::config::{NodeConfig, Settings};
use blixard_node::ids::ClusterId;
use blixard_node::rng::Rng;
use blixard_node::stored::Stored;
use blixard_runtime::{Clock, Disk, Fatal, Hypervisor, Runtime};
use tokio::sync::oneshot;

use crate::api::Api;
use crate::hypervisor::Sink;
use crate::hypervisor::run_dir::StateDir;
use crate::net::{AnyError, Peers, Transport};
use driver::Driver;
use handle::Mailbox;

pub use clock::{HostClock, RuntimeClock};
pub use driver::End;
pub use folder::{DataDir, FolderError};
pub use handle::{MAIL_MAX, NodeHandle};
pub use store::{AnyDisk, Storage};

/// How long calls under way may take when the node has ended.
const SERVER_GRACE: std::time::Duration = std::time::Duration::from_millis(200);

/// What a daemon is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's own part.
    pub node: NodeConfig,
    /// Begin a new cluster if the disk is empty; else join through the peers.
    pub bootstrap: bool,
    /// The new cluster's settings, if one is begun.
    pub settings: Settings,
    /// Feeds all chance of this process. Must differ between processes in production.
    pub seed: u64,
    /// Give the turn loop a thread of its own. Not under a simulated runtime.
    pub own_thread: bool,
}

/// What a daemon stands on.
pub struct Parts<C, OpenDisk, OpenHypervisor> {
    /// The clocks.
    pub clock: C,
    /// Opens the disk; called on the turn loop's thread.
    pub open_disk: OpenDisk,
    /// Opens the hypervisor, which reports to the sink; called on the turn loop's thread.
    pub open_hypervisor: OpenHypervisor,
    /// The network.
    pub transport: Transport,
    /// The hypervisors' folder, if they keep there what their VMs print: served to clients.
    pub runs: Option<StateDir>,
}

impl<C, D, H> std::fmt::Debug for Parts<C, D, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Why a daemon ended badly.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The disk failed, or the node cannot open on what it holds.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The hypervisor cannot be opened.
    #[error("the hypervisors cannot be opened: {0}")]
    Hypervisor(std::io::Error),
    /// The server failed.
    #[error("the server failed: {0}")]
    Server(AnyError),
    /// The turn loop's thread could not be started, or panicked: an invariant does not hold.
    #[error("the turn loop ended unexpectedly: {0}")]
    Lost(String),
}

impl DaemonError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fatal(Fatal::Disk(error)) => error.code(),
            Self::Fatal(Fatal::Open(error)) => error.code(),
            Self::Hypervisor(_) => "BLX-NODE-009",
            Self::Server(_) | Self::Lost(_) => "BLX-NODE-010",
        }
    }
}

/// Runs a daemon until it is told to end by `shutdown`, is refused by the cluster, or fails.
///
/// # Errors
/// When the disk, the hypervisor or the server fails.
pub async fn run<C, D, H, OpenDisk, OpenHypervisor>(
    config: Config,
    parts: Parts<C, OpenDisk, OpenHypervisor>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<End, DaemonError>
where
    C: Clock + Send + 'static,
    D: Disk + Send + 'static,
    H: Hypervisor + Send + 'static,
    OpenDisk: FnOnce() -> Result<D, blixard_runtime::DiskError> + Send + 'static,
    OpenHypervisor: FnOnce(Sink) -> std::io::Result<H> + Send + 'static,
{
    run_with(config, parts, |_, _| std::future::ready(()), shutdown).await
}

/// As [`run`], with a task beside the node that may ask it and tell its peers' addresses. It ends with the node.
///
/// # Errors
/// As [`run`].
pub async fn run_with<C, D, H, OpenDisk, OpenHypervisor, Beside>(
    config: Config,
    parts: Parts<C, OpenDisk, OpenHypervisor>,
    beside: impl FnOnce(NodeHandle, Peers) -> Beside,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<End, DaemonError>
where
    C: Clock + Send + 'static,
    D: Disk + Send + 'static,
    H: Hypervisor + Send + 'static,
    OpenDisk: FnOnce() -> Result<D, blixard_runtime::DiskError> + Send + 'static,
    OpenHypervisor: FnOnce(Sink) -> std::io::Result<H> + Send + 'static,
    Beside: Future<Output = ()> + Send + 'static,
{
    let id = config.node.id;
    let own_thread = config.own_thread;
    let mut rng = Rng::new(config.seed, 0);
    let Parts { clock, open_disk, open_hypervisor, transport, runs } = parts;
    let (handle, mailbox) = NodeHandle::new();
    let connect = Arc::clone(&transport.connect);
    let (peers, keep) = Peers::new(id, config.node.host.address.clone(), transport.connect);
    let keeper = tokio::spawn(keep);

    let api = Api::new(id, rng.u64(), handle.clone(), peers.clone(), runs, connect);
    let router = api.router().map_err(DaemonError::Server)?;
    let (stop_server, server_stops) = oneshot::channel::<()>();
    let stops = Box::pin(async move {
        let _ = server_stops.await;
    });

    let beside = tokio::spawn(beside(handle.clone(), peers.clone()));
    let (sink, seed) = (handle.sink(), rng.u64());
    let open = move || {
        let disk = open_disk().map_err(Fatal::from)?;
        let disk = prepare(&config, disk, Rng::new(seed, 1))?;
        let hypervisor = open_hypervisor(sink).map_err(DaemonError::Hypervisor)?;
        Ok(Runtime::open(config.node, seed, clock, peers, disk, hypervisor)?)
    };
    let mut turns = start(own_thread, open, mailbox)?;
    let mut server = tokio::spawn((transport.serve)(router, stops));

    let mut shutdown = std::pin::pin!(shutdown);
    let mut retiring = false;
    let ended = loop {
        tokio::select! {
            // In order, because tokio's own choice is not the seed's.
            biased;
            ended = &mut turns => {
                break ended.unwrap_or_else(|_| Err(DaemonError::Lost("it panicked".into())));
            }
            served = &mut server => break Err(server_ended(served)),
            () = &mut shutdown, if !retiring => {
                retiring = true;
                handle.retire();
            }
        }
    };
    // Calls under way are answered that the node has ended; peers' streams never end by themselves.
    let _ = stop_server.send(());
    let _ = tokio::time::timeout(SERVER_GRACE, &mut server).await;
    server.abort();
    beside.abort();
    keeper.abort();
    ended
}

fn server_ended(served: Result<Result<(), AnyError>, tokio::task::JoinError>) -> DaemonError {
    match served {
        Ok(Err(error)) => DaemonError::Server(error),
        Ok(Ok(())) => DaemonError::Server("it ended by itself".into()),
        Err(panic) => DaemonError::Lost(panic.to_string()),
    }
}

/// Starts the turn loop; the receiver tells how it ended, or fails when it panicked.
fn start<C, D, H>(
    own_thread: bool,
    open: impl FnOnce() -> Result<Runtime<C, Peers, D, H>, DaemonError> + Send + 'static,
    mailbox: Mailbox,
) -> Result<oneshot::Receiver<Result<End, DaemonError>>, DaemonError>
where
    C: Clock + Send + 'static,
    D: Disk + Send + 'static,
    H: Hypervisor + Send + 'static,
{
    let (done, ended) = oneshot::channel();
    let turns = async move {
        let ended = match open() {
            Ok(runtime) => Driver::new(runtime, mailbox).run().await.map_err(DaemonError::from),
            Err(error) => Err(error),
        };
        let _ = done.send(ended);
    };
    if own_thread {
        on_own_thread(turns).map_err(|error| DaemonError::Lost(error.to_string()))?;
    } else {
        tokio::spawn(turns);
    }
    Ok(ended)
}

#[cfg(not(madsim))]
fn on_own_thread(turns: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("turns".into()).spawn(move || runtime.block_on(turns))?;
    Ok(())
}

#[cfg(madsim)]
fn on_own_thread(turns: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    drop(turns);
    Err(std::io::Error::other("a simulated daemon has no threads: set own_thread to false"))
}

/// Writes a new cluster's first content to an empty disk, if one is to begin.
fn prepare<D: Disk>(config: &Config, mut disk: D, mut rng: Rng) -> Result<D, Fatal> {
    if !config.bootstrap || disk.load()? != Stored::default() {
        return Ok(disk);
    }
    let cluster = ClusterId(rng.u64().max(1));
    let stored = blixard_node::bootstrap(&config.node, &config.settings, cluster, rng.u64())?;
    tracing::info!(cluster = format!("{:x}", cluster.0), "begins a new cluster");
    disk.begin(store::whole(stored));
    loop {
        match disk.poll() {
            std::task::Poll::Ready(done) => break done?,
            std::task::Poll::Pending => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    Ok(disk)
}
