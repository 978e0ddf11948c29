//! A console's socket on this host, which the VM's supervisor serves.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use blixard_node::ids::VmId;
use blixard_node::spec::VmName;
use blixard_proto::error::GuestError;
use blixard_proto::v1::{ConsoleInput, ConsoleOutput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};

use crate::api::Api;
use crate::hypervisor::run_dir::{RunDir, StateDir};

/// How long a console may take to appear.
const APPEARS_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked for.
const POLL: Duration = Duration::from_millis(50);

/// The most bytes of a guest's output in one message.
const READ_MAX: usize = 16 << 10;

/// Connects to the console of a VM that runs here. Of one that is being started it waits for the console to appear.
pub(super) async fn connect(api: &Api, name: &VmName, vm: VmId) -> Result<UnixStream, Status> {
    let node = Some(api.me);
    let none = || GuestError::NoConsole { name: name.clone(), node }.status();
    let gone = || {
        let stands = format!("not running on node {}", api.me.0);
        GuestError::NotRunning { name: name.clone(), stands }.status()
    };
    let state = api.guests.state.clone().ok_or_else(none)?;
    let until = Instant::now() + APPEARS_WITHIN;
    loop {
        let refusal = match try_connect(state.clone(), vm).await {
            Ok(Some(socket)) => return Ok(socket),
            Ok(None) => gone(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => none(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => gone(),
            Err(error) => {
                return Err(Status::internal(format!("the console of VM {name} cannot be used: {error}")));
            }
        };
        if Instant::now() >= until {
            return Err(refusal);
        }
        sleep(POLL).await;
    }
}

/// Connects to the console of a VM's run; none when no run of it is alive.
async fn try_connect(state: StateDir, vm: VmId) -> io::Result<Option<UnixStream>> {
    let run = tokio::task::spawn_blocking(move || alive(&state, vm)).await;
    match run.map_err(io::Error::other)?? {
        Some(run) => dial(&run.console()).await.map(Some),
        None => Ok(None),
    }
}

/// The VM's newest run, unless it has ended.
fn alive(state: &StateDir, vm: VmId) -> io::Result<Option<RunDir>> {
    let runs = state.attempts()?.into_iter().filter_map(|dir| Some((dir.run()?, dir)));
    let ours = runs.filter(|(run, dir)| run.vm == vm && !dir.has_ended());
    Ok(ours.max_by_key(|(run, dir)| (run.epoch, dir.began_at())).map(|(_, dir)| dir))
}

/// Connects through the folder's descriptor, because a socket's path has 108 bytes at most.
async fn dial(path: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let folder = File::open(folder)?;
    UnixStream::connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name)).await
}

/// Copies both ways until the VM's end is closed, or nobody listens any more.
pub(super) async fn serve(
    socket: UnixStream,
    mut input: Streaming<ConsoleInput>,
    sender: mpsc::Sender<Result<ConsoleOutput, Status>>,
) {
    let (mut from, mut to) = socket.into_split();
    let inward = async {
        while let Ok(Some(ConsoleInput { data, end, .. })) = input.message().await {
            if to.write_all(&data).await.is_err() {
                // Closed: what it said last is still read.
                return std::future::pending().await;
            }
            if end {
                return;
            }
        }
        // Whoever has said all may still want to hear.
        sender.closed().await;
    };
    let outward = async {
        let mut buffer = vec![0; READ_MAX];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let data = buffer[..count].to_vec().into();
            if sender.send(Ok(ConsoleOutput { data })).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = outward => {}
        () = inward => {}
    }
}
