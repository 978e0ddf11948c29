//! `Console`: between whoever attaches and the socket at the VM's host.

use std::time::Duration;

use blixard_node::ids::VmId;
use blixard_node::request::VmView;
use blixard_node::spec::{Phase, VmName, Wanted};
use blixard_proto::convert::{BadMessage, consistency};
use blixard_proto::error::{GuestError, bad_message};
use blixard_proto::v1::{ConsoleInput, ConsoleOpen, ConsoleOutput};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{CHUNKS_MAX, passed_on, vm_name};
use crate::api::Api;

/// How long a caller may take to say which VM it means.
const OPEN_MAX: Duration = Duration::from_secs(10);

type Sender = mpsc::Sender<Result<ConsoleOutput, Status>>;

pub(super) async fn open(
    api: &Api,
    mut input: Streaming<ConsoleInput>,
) -> Result<ReceiverStream<Result<ConsoleOutput, Status>>, Status> {
    let permit = api.guests.permit()?;
    let first = timeout(OPEN_MAX, input.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("nothing came on the console's stream"))??;
    let open = first
        .and_then(|first| first.open)
        .ok_or_else(|| bad_message(&BadMessage::new("open", "is missing in the first message")))?;
    let name = vm_name(&open.name)?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    match open.vm {
        Some(id) => here(api, &name, VmId(id), input, sender, permit).await?,
        None => {
            let vm = api.vm(&name, consistency(open.stale)).await?;
            let not_running = || GuestError::NotRunning { name: name.clone(), stands: stands(&vm) }.status();
            let (host, _) = vm.assigned.filter(|_| has_guest(vm.phase)).ok_or_else(not_running)?;
            if host == api.me {
                here(api, &name, vm.id, input, sender, permit).await?;
            } else {
                let mut client = api.reach(host, &name).await?;
                let open = ConsoleOpen { vm: Some(vm.id.0), ..open };
                let (forward, forwarded) = mpsc::channel(CHUNKS_MAX);
                // Takes it at once: the channel is empty.
                let _ = forward.try_send(ConsoleInput { open: Some(open), ..ConsoleInput::default() });
                let answer = client.console(ReceiverStream::new(forwarded)).await;
                let output = answer.map_err(|status| passed_on(status, &name, host))?.into_inner();
                tokio::spawn(async move {
                    relay(input, forward, output, sender).await;
                    drop(permit);
                });
            }
        }
    }
    Ok(ReceiverStream::new(receiver))
}

/// Whether there may be a guest to speak to.
fn has_guest(phase: Phase) -> bool {
    matches!(phase, Phase::Starting | Phase::Running | Phase::Stopping)
}

fn stands(vm: &VmView) -> String {
    let why = if vm.reason.is_empty() { String::new() } else { format!(" ({})", vm.reason) };
    let remedy = match (vm.deleting, vm.wanted, vm.phase) {
        (false, Wanted::Stopped, Phase::Stopped) => format!("; `blixard vm start {}` starts it", vm.name),
        (false, Wanted::Running, Phase::Exited) => "; to run it again, stop and start it".to_owned(),
        _ => String::new(),
    };
    format!("{}{why}{remedy}", vm.phase)
}

/// Between two streams, until either end has had enough.
async fn relay(
    mut input: Streaming<ConsoleInput>,
    forward: mpsc::Sender<ConsoleInput>,
    mut output: Streaming<ConsoleOutput>,
    sender: Sender,
) {
    let inward = async {
        while let Ok(Some(more)) = input.message().await {
            if forward.send(ConsoleInput { open: None, ..more }).await.is_err() {
                break;
            }
        }
        drop(forward);
        // Whoever has said all may still want to hear.
        sender.closed().await;
    };
    let outward = async {
        while let Some(chunk) = output.message().await.transpose() {
            let over = chunk.is_err();
            if sender.send(chunk).await.is_err() || over {
                return;
            }
        }
    };
    tokio::select! {
        // In order, because tokio's own choice is not the seed's.
        biased;
        () = outward => {}
        () = inward => {}
    }
}

#[cfg(not(madsim))]
async fn here(
    api: &Api,
    name: &VmName,
    vm: VmId,
    input: Streaming<ConsoleInput>,
    sender: Sender,
    permit: OwnedSemaphorePermit,
) -> Result<(), Status> {
    let socket = super::socket::connect(api, name, vm).await?;
    tokio::spawn(async move {
        super::socket::serve(socket, input, sender).await;
        drop(permit);
    });
    Ok(())
}

#[cfg(madsim)]
async fn here(
    api: &Api,
    name: &VmName,
    _: VmId,
    _: Streaming<ConsoleInput>,
    _: Sender,
    _: OwnedSemaphorePermit,
) -> Result<(), Status> {
    Err(GuestError::NoConsole { name: name.clone(), node: Some(api.me) }.status())
}
