//! Runs VMs on this host: the production side of [`blixard_runtime::Hypervisor`].
//!
//! ```text
//! turn loop ── submit ──▶ Backends ── queue ──▶ Host (a thread) ── orders ──▶ supervisor ──▶ VM     one pair a run
//!      ▲                                          │    ▲                          │
//!      └──────────────── sink(Input) ─────────────┘    └──────── notices ─────────┘
//! ```
//!
//! A VM belongs to its supervisor, not to this process: dropping [`Backends`] harms no VM, and the next one on the same
//! state folder adopts them all.

pub mod backend;
mod builders;
pub mod cloud_hypervisor;
mod host;
mod live;
pub mod microvm_nix;
pub mod process;
pub mod qemu;
pub mod run_dir;
mod sweep;
pub mod tool;
mod units;
pub mod wire;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use blixard_node::hypervisor::{HypervisorError, HypervisorRequest};
use blixard_node::ids::OpId;
use blixard_node::input::Input;
use rustix::event::{EventfdFlags, eventfd};

use backend::Backend;
use cloud_hypervisor::CloudHypervisor;
use host::Host;
use microvm_nix::MicrovmNix;
use process::Process;
use qemu::Qemu;
use run_dir::StateDir;

pub use units::Manager;

use crate::watchdog::Vitals;

/// Where completions and events go. Called from several threads; must not block for long.
pub type Sink = Arc<dyn Fn(Input) + Send + Sync>;

/// The most operations that wait for the host's thread. One more is refused.
const QUEUE_LEN_MAX: usize = 8_192;

/// How long the probes may take altogether.
const PROBE_PATIENCE: Duration = Duration::from_secs(6);

/// What a backend can do on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The backend's name.
    pub name: &'static str,
    /// Details for people; or why this host cannot run it, and how to mend that.
    pub result: Result<String, String>,
}

/// What the hypervisors of a host are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Their folder; holds locks, sockets, records, and what the VMs print.
    pub state_dir: PathBuf,
    /// The program that knows the `supervise` subcommand.
    pub program: PathBuf,
}

impl Config {
    /// With this very program as the supervisor: the file that runs, also when it was replaced on the disk since.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), program: "/proc/self/exe".into() }
    }
}

/// What may be chosen beyond that.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where they show that they work, for a watchdog.
    pub vitals: Arc<Vitals>,
    /// The systemd whose units the supervisors are; none when they are the daemon's children.
    pub units: Option<Manager>,
}

/// All hypervisors of this host. Dispatches by the name in the spec.
pub struct Backends {
    queue: Option<SyncSender<(OpId, HypervisorRequest)>>,
    alarm: Arc<OwnedFd>,
    sink: Sink,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").finish_non_exhaustive()
    }
}

impl Backends {
    /// All backends that this program knows, whether or not this host can run them.
    fn all(config: &Config) -> Vec<Box<dyn Backend>> {
        vec![
            Box::new(Process),
            Box::new(Qemu::new(&config.state_dir)),
            Box::new(MicrovmNix::new(&config.state_dir)),
            Box::new(CloudHypervisor::new(&config.state_dir)),
        ]
    }

    /// What each backend can do on this host, or why it cannot. Asks all of them at once, and none for longer than
    /// [`PROBE_PATIENCE`].
    #[must_use]
    pub fn probe(config: &Config) -> Vec<Probe> {
        let asked: Vec<_> = Self::all(config)
            .into_iter()
            .map(|backend| {
                let name = backend.name();
                let (sender, receiver) = channel();
                thread::spawn(move || {
                    let _ = sender.send(backend.probe());
                });
                (name, receiver)
            })
            .collect();
        let until = Instant::now() + PROBE_PATIENCE;
        let answer = |(name, receiver): (_, Receiver<_>)| {
            let left = until.saturating_duration_since(Instant::now());
            let result = receiver.recv_timeout(left);
            Probe { name, result: result.unwrap_or_else(|_| Err("it did not answer in time".into())) }
        };
        asked.into_iter().map(answer).collect()
    }

    /// Adopts what runs in the state folder and begins to take operations. Exits that nobody has asked for since they
    /// happened go to `sink` first of all, also those of earlier daemons' times; they come again at each opening until
    /// the VM is started anew or the run is stopped.
    ///
    /// # Errors
    /// When the state folder cannot be used.
    pub fn open(config: Config, sink: Sink) -> io::Result<Self> {
        let backends = Self::all(&config);
        Self::with(config, sink, backends)
    }

    /// As [`Backends::open`], with backends of the caller's choice.
    ///
    /// # Errors
    /// When the state folder cannot be used.
    pub fn with(config: Config, sink: Sink, backends: Vec<Box<dyn Backend>>) -> io::Result<Self> {
        Self::build(config, sink, backends, Options::default())
    }

    /// As [`Backends::open`], with what else there is to choose.
    ///
    /// # Errors
    /// When the state folder cannot be used.
    pub fn open_with(config: Config, sink: Sink, options: Options) -> io::Result<Self> {
        let backends = Self::all(&config);
        Self::build(config, sink, backends, options)
    }

    fn build(
        config: Config,
        sink: Sink,
        backends: Vec<Box<dyn Backend>>,
        options: Options,
    ) -> io::Result<Self> {
        let state = StateDir::open(config.state_dir)?;
        let alarm = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (queue, requests) = sync_channel(QUEUE_LEN_MAX);
        let host = Host::open(state, config.program, backends, Arc::clone(&sink), options)?;
        let bell = Arc::clone(&alarm);
        let thread =
            thread::Builder::new().name("hypervisor".into()).spawn(move || host.run(&requests, &bell))?;
        Ok(Self { queue: Some(queue), alarm, sink, thread: Some(thread) })
    }

    fn ring(&self) {
        // Fails only when it already rings.
        let _ = rustix::io::write(&self.alarm, &1_u64.to_ne_bytes());
    }
}

impl blixard_runtime::Hypervisor for Backends {
    fn submit(&mut self, op: OpId, request: HypervisorRequest) {
        let Some(queue) = &self.queue else {
            return;
        };
        match queue.try_send((op, request)) {
            Ok(()) => self.ring(),
            Err(TrySendError::Full((op, request)) | TrySendError::Disconnected((op, request))) => {
                let reason = format!("{QUEUE_LEN_MAX} operations are waiting on this host");
                let error = match request {
                    HypervisorRequest::Extend { .. } => return,
                    HypervisorRequest::Prepare { .. } => HypervisorError::Prepare { reason },
                    HypervisorRequest::Start { .. } => HypervisorError::Start { reason },
                    _ => HypervisorError::Uncertain { reason },
                };
                (self.sink)(Input::HypervisorDone { op, result: Err(error) });
            }
        }
    }
}

impl Drop for Backends {
    /// Ends the thread. The VMs live on.
    fn drop(&mut self) {
        self.queue = None;
        self.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
