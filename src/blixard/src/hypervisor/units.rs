//! Supervisors as transient units of systemd: each is a service of its own, whatever becomes of the daemon's, and what it
//! complains of goes to the journal.
//!
//! systemd is asked over D-Bus (`org.freedesktop.systemd1.Manager.StartTransientUnit`). The supervisor's line and its VM's lock
//! are handed over as open files, so that a unit is the same to its daemon as a child: where it does not come
//! alive, both are closed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::run_dir::RunDir;

/// Units that wait to be started. One more is a failed start.
const QUEUE_LEN_MAX: usize = 1_024;

/// Which systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The host's.
    System,
    /// This user's.
    User,
    /// One that is reached over another bus, at that address.
    At(String),
}

/// A supervisor to be started.
#[derive(Debug)]
#[cfg_attr(madsim, expect(dead_code, reason = "a simulated build starts no units"))]
pub(super) struct Unit {
    /// As in [`super::Config::program`].
    pub(super) program: PathBuf,
    pub(super) dir: RunDir,
    pub(super) token: String,
    pub(super) description: String,
    /// The supervisor's end of the line.
    pub(super) line: OwnedFd,
    pub(super) lock: File,
    pub(super) lock_path: PathBuf,
}

/// The way to the thread that talks to systemd.
#[derive(Debug)]
pub(super) struct Units {
    queue: SyncSender<Unit>,
}

impl Units {
    /// Begins. Whether systemd is there shows with the first unit.
    #[cfg(not(madsim))]
    pub(super) fn open(manager: Manager) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (queue, units) = std::sync::mpsc::sync_channel(QUEUE_LEN_MAX);
        let serve = move || runtime.block_on(bus::serve(manager, units));
        std::thread::Builder::new().name("units".into()).spawn(serve)?;
        Ok(Self { queue })
    }

    /// A simulated build has no bus.
    #[cfg(madsim)]
    pub(super) fn open(_: Manager) -> io::Result<Self> {
        Err(io::Error::other("a simulated build starts no units"))
    }

    /// Starts a unit, soon. What comes of it shows on its line.
    pub(super) fn start(&self, unit: Unit) -> io::Result<()> {
        self.queue.try_send(unit).map_err(|error| match error {
            TrySendError::Full(_) => io::Error::other(format!("{QUEUE_LEN_MAX} units wait for systemd")),
            TrySendError::Disconnected(_) => io::Error::other("the thread for systemd has failed"),
        })
    }
}

/// A unit's name, by which its run is found in the journal.
#[cfg_attr(madsim, expect(dead_code, reason = "a simulated build starts no units"))]
fn name(dir: &RunDir) -> String {
    let run = dir.path().file_name().unwrap_or_default().to_string_lossy();
    format!("blixard-{run}.service")
}

/// The part that speaks D-Bus.
#[cfg(not(madsim))]
mod bus {
    use std::fs;
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::sync::mpsc::Receiver;
    use std::time::Duration;

    use tracing::{info, warn};
    use zbus::{Connection, Variant, connection};

    use super::{Manager, Unit, name};
    use crate::hypervisor::run_dir::TOKEN_VAR;
    use crate::hypervisor::wire::{Ended, How};
    use crate::supervise::SUBCOMMAND;

    /// How long systemd may take to take a unit on.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// How long a unit has to end that systemd was told to stop by hand, in microseconds.
    const STOP_USEC: u64 = 5_000_000;

    pub(super) async fn serve(manager: Manager, units: Receiver<Unit>) {
        let mut bus = None;
        // Blocks the thread: nothing else happens on it while there is no unit, and the connection need not be read meanwhile.
        while let Ok(unit) = units.recv() {
            let mut started = start(&manager, &mut bus, &unit).await;
            if started.is_err() && bus.take().is_some() {
                // The bus may have been restarted since the last unit.
                started = start(&manager, &mut bus, &unit).await;
            }
            match started {
                Ok(()) => info!(unit = name(&unit.dir), "taken on by systemd"),
                Err(error) => {
                    warn!(unit = name(&unit.dir), %error, "systemd does not take on a supervisor");
                    let ended = Ended::new(How::NotStarted, format!("systemd does not take it on: {error}"));
                    if let Err(error) = unit.dir.write_end(&ended) {
                        warn!(%error, "the end of a run cannot be written down");
                    }
                    let _ = fs::remove_file(&unit.lock_path);
                }
            }
            // With the unit its open files go: from now on the supervisor alone has them, or nobody.
        }
    }

    async fn start(manager: &Manager, bus: &mut Option<Connection>, unit: &Unit) -> zbus::Result<()> {
        let connection = match bus {
            Some(connection) => connection,
            None => bus.insert(connect(manager).await?),
        };
        let nothing: Vec<(String, Vec<(String, Variant<'_>)>)> = Vec::new();
        let arguments = (name(&unit.dir), "fail", properties(unit), nothing);
        connection
            .call_method(
                Some("org.freedesktop.systemd1"),
                "/org/freedesktop/systemd1",
                Some("org.freedesktop.systemd1.Manager"),
                "StartTransientUnit",
                &arguments,
            )
            .await?;
        Ok(())
    }

    async fn connect(manager: &Manager) -> zbus::Result<Connection> {
        let builder = match manager {
            Manager::System => connection::Builder::system(),
            Manager::User => connection::Builder::session(),
            Manager::At(address) => connection::Builder::address(address.as_str()),
        };
        builder.method_timeout(PATIENCE).build().await
    }

    fn properties(unit: &Unit) -> Vec<(&'static str, Variant<'_>)> {
        let arguments = ["blixard", SUBCOMMAND, "--dir"].map(String::from);
        let arguments: Vec<String> =
            arguments.into_iter().chain([unit.dir.path().to_string_lossy().into_owned()]).collect();
        // This very file, also when it was replaced on the disk since: systemd has to be told whose it is.
        let own = unit.program == Path::new("/proc/self/exe");
        let program = if own {
            format!("/proc/{}/exe", std::process::id())
        } else {
            unit.program.display().to_string()
        };
        vec![
            ("Description", unit.description.as_str().into()),
            ("Type", "exec".into()),
            ("ExecStart", vec![(program, arguments, false)].into()),
            ("Environment", vec![format!("{TOKEN_VAR}={}", unit.token)].into()),
            ("WorkingDirectory", "/".into()),
            ("StandardInputFileDescriptor", zbus::Fd::from(unit.line.as_fd()).into()),
            ("StandardOutputFileDescriptor", zbus::Fd::from(unit.lock.as_fd()).into()),
            ("StandardError", "journal".into()),
            ("CollectMode", "inactive-or-failed".into()),
            ("TimeoutStopUSec", STOP_USEC.into()),
        ]
    }
}
