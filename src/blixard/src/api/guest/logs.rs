//! `Logs`: from the VM's host to whoever asks, and on when the VM moves.

use std::time::Duration;

use blixard_node::error::RequestError;
#[cfg(not(madsim))]
use blixard_node::ids::Epoch;
use blixard_node::ids::{NodeId, VmId};
use blixard_node::request::{Consistency, VmView};
use blixard_node::spec::{Phase, VmName};
use blixard_proto::convert::consistency;
use blixard_proto::error::{GuestError, request_error};
use blixard_proto::v1::{LogsChunk, LogsRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

#[cfg(not(madsim))]
use super::tail::{From as Begin, Piece, Tail};
use super::{CHUNKS_MAX, host_of, passed_on, vm_name};
use crate::api::Api;

/// How often a file is looked at for more.
#[cfg(not(madsim))]
const POLL: Duration = Duration::from_millis(100);

/// How often a follower looks where its VM is, and tries a host again that did not answer.
const LOOK: Duration = Duration::from_secs(1);

type Sender = mpsc::Sender<Result<LogsChunk, Status>>;

pub(super) async fn open(
    api: &Api,
    request: LogsRequest,
) -> Result<ReceiverStream<Result<LogsChunk, Status>>, Status> {
    let name = vm_name(&request.name)?;
    let permit = api.guests.permit()?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let follow = request.follow;
    match request.vm {
        Some(id) => {
            let source = Source::here(api, &name, VmId(id), &request).await?;
            tokio::spawn(async move {
                pass(source, follow, &sender).await;
                drop(permit);
            });
        }
        None => {
            let vm = api.vm(&name, consistency(request.stale)).await?;
            let follower = Follower::new(api.clone(), name, request, vm.id);
            let source = match (follow, host_of(&vm)) {
                // Its troubles are told on the way.
                (true, _) => None,
                (false, Some(host)) => Some(follower.source(host).await?),
                (false, None) => {
                    return Err(GuestError::NoOutput { name: follower.name, node: None }.status());
                }
            };
            tokio::spawn(async move {
                match source {
                    Some(source) => pass(source, false, &sender).await,
                    None => follower.run(*vm, &sender).await,
                }
                drop(permit);
            });
        }
    }
    Ok(ReceiverStream::new(receiver))
}

/// Where chunks come from.
enum Source {
    /// The files of this host.
    #[cfg(not(madsim))]
    Here(Option<Box<Tail>>),
    /// Another member.
    There(Box<Streaming<LogsChunk>>),
}

/// What a source has to say.
enum Said {
    Chunk(LogsChunk),
    /// Nothing for the moment.
    Quiet,
    /// Nothing ever more, perhaps for a reason.
    Over(Option<Status>),
}

impl Source {
    #[cfg(not(madsim))]
    async fn here(api: &Api, name: &VmName, vm: VmId, request: &LogsRequest) -> Result<Self, Status> {
        let nothing = || GuestError::NoOutput { name: name.clone(), node: Some(api.me) }.status();
        let state = api.guests.state.clone().ok_or_else(nothing)?;
        let begin = match (request.after.as_str(), request.lines) {
            ("", None) => Begin::Oldest,
            ("", Some(lines)) => Begin::Lines(lines),
            (place, _) => Begin::Place(place.to_owned()),
        };
        let epoch = Epoch(request.epoch.unwrap_or(0));
        let opened = tokio::task::spawn_blocking(move || Tail::open(state, vm, epoch, &begin)).await;
        let tail = opened.map_err(|_| cut())?.map_err(|error| unreadable(name, &error))?;
        if tail.has_run() || request.follow { Ok(Self::Here(Some(Box::new(tail)))) } else { Err(nothing()) }
    }

    #[cfg(madsim)]
    async fn here(api: &Api, name: &VmName, _: VmId, _: &LogsRequest) -> Result<Self, Status> {
        Err(GuestError::NoOutput { name: name.clone(), node: Some(api.me) }.status())
    }

    async fn there(
        api: &Api,
        name: &VmName,
        host: NodeId,
        vm: VmId,
        request: &LogsRequest,
    ) -> Result<Self, Status> {
        let mut client = api.reach(host, name).await?;
        let request = LogsRequest { vm: Some(vm.0), ..request.clone() };
        let answer = client.logs(request).await.map_err(|status| passed_on(status, name, host))?;
        Ok(Self::There(Box::new(answer.into_inner())))
    }

    /// Comes back within [`LOOK`].
    async fn next(&mut self) -> Said {
        match self {
            #[cfg(not(madsim))]
            Self::Here(tail) => next_here(tail).await,
            Self::There(stream) => match timeout(LOOK, stream.message()).await {
                Ok(Ok(Some(chunk))) => Said::Chunk(chunk),
                Ok(Ok(None)) => Said::Over(None),
                Ok(Err(status)) => Said::Over(Some(status)),
                Err(_) => Said::Quiet,
            },
        }
    }
}

#[cfg(not(madsim))]
async fn next_here(tail: &mut Option<Box<Tail>>) -> Said {
    // Reading blocks, on a file system that hangs even for long: not on a thread that serves others.
    let Some(mut moved) = tail.take() else { return Said::Over(Some(cut())) };
    let done = tokio::task::spawn_blocking(move || {
        let piece = moved.next();
        (moved, piece)
    });
    let Ok((back, piece)) = done.await else { return Said::Over(Some(cut())) };
    *tail = Some(back);
    let notice = |notice: &str| Said::Chunk(LogsChunk { notice: notice.into(), ..LogsChunk::default() });
    match piece {
        Ok(Some(Piece::Data(data, place))) => {
            Said::Chunk(LogsChunk { data: data.into(), place, notice: String::new() })
        }
        Ok(Some(Piece::NewRun)) => notice("started anew"),
        Ok(Some(Piece::Gap)) => {
            notice("printed more than could be read in time: some of it is left out here")
        }
        Ok(None) => {
            tokio::time::sleep(POLL).await;
            Said::Quiet
        }
        Err(error) => Said::Over(Some(Status::internal(format!("the output cannot be read: {error}")))),
    }
}

#[cfg(not(madsim))]
fn cut() -> Status {
    Status::unavailable("this node is ending")
}

#[cfg(not(madsim))]
fn unreadable(name: &VmName, error: &std::io::Error) -> Status {
    Status::internal(format!("the output of VM {name} cannot be read: {error}"))
}

/// Passes a source's chunks on, to its end or to the first silence.
async fn pass(mut source: Source, follow: bool, to: &Sender) {
    loop {
        let chunk = match source.next().await {
            Said::Chunk(chunk) => Ok(chunk),
            Said::Quiet if follow && !to.is_closed() => continue,
            // A file that has no more is read; another member that says nothing for a while is not.
            Said::Quiet if matches!(source, Source::There(_)) && !to.is_closed() => continue,
            Said::Quiet | Said::Over(None) => return,
            Said::Over(Some(status)) => Err(status),
        };
        let over = chunk.is_err();
        if to.send(chunk).await.is_err() || over {
            return;
        }
    }
}

/// Follows a VM from host to host.
struct Follower {
    api: Api,
    name: VmName,
    /// With the place that was reached.
    request: LogsRequest,
    vm: VmId,
    host: Option<NodeId>,
    /// What its reader was told last of how the VM stands, and of what is amiss.
    stands: String,
    trouble: String,
}

impl Follower {
    fn new(api: Api, name: VmName, request: LogsRequest, vm: VmId) -> Self {
        Self { api, name, request, vm, host: None, stands: String::new(), trouble: String::new() }
    }

    async fn source(&self, host: NodeId) -> Result<Source, Status> {
        if host == self.api.me {
            Source::here(&self.api, &self.name, self.vm, &self.request).await
        } else {
            Source::there(&self.api, &self.name, host, self.vm, &self.request).await
        }
    }

    async fn run(mut self, mut vm: VmView, to: &Sender) {
        let mut source = None;
        let mut looked = Instant::now();
        while !to.is_closed() {
            if source.is_none() || host_of(&vm) != self.host {
                // Also what it printed last on another host, which nobody will write to any more.
                if let Some(old) = source.take()
                    && !self.drain(old, to).await
                {
                    return;
                }
                source = self.turn_to(&vm, to).await;
            }
            let said = match &mut source {
                Some(source) => source.next().await,
                None => Said::Over(None),
            };
            match said {
                Said::Chunk(chunk) => match self.give(chunk, to).await {
                    true => continue,
                    false => return,
                },
                Said::Quiet => {}
                Said::Over(status) => {
                    source = None;
                    if let Some(status) = status {
                        tracing::debug!(name = %self.name, host = ?self.host, %status, "a followed output broke off");
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            match self.look().await {
                Look::Is(now) => {
                    self.tell_of(&now, to).await;
                    vm = *now;
                }
                Look::Unknown => {}
                Look::Gone => {
                    if let Some(old) = source.take() {
                        self.drain(old, to).await;
                    }
                    tell("was deleted", to).await;
                    return;
                }
            }
        }
    }

    /// Opens what the VM's host has; none when that does not work at the moment.
    async fn turn_to(&mut self, vm: &VmView, to: &Sender) -> Option<Source> {
        let host = host_of(vm);
        if self.host.is_some() && self.host != host {
            // Lines are counted from the end once. Another host's output is new as a whole, but for that of an earlier stay.
            if !self.request.after.is_empty() {
                self.request.lines = None;
            }
            self.request.epoch = vm.assigned.map(|(_, epoch)| epoch.0);
            if let Some(host) = host {
                tell(&format!("moved to node {}", host.0), to).await;
            }
        }
        self.host = host;
        match self.source(host?).await {
            Ok(source) => {
                self.trouble.clear();
                Some(source)
            }
            Err(status) => {
                if self.trouble != status.message() {
                    self.trouble = status.message().to_owned();
                    tell(&format!("{}; trying on", self.trouble), to).await;
                }
                None
            }
        }
    }

    /// Tells how a VM stands that prints nothing because it does not run.
    async fn tell_of(&mut self, vm: &VmView, to: &Sender) {
        let stands = if vm.phase == Phase::Running { String::new() } else { stands(vm) };
        if !stands.is_empty() && stands != self.stands {
            tell(&stands, to).await;
        }
        self.stands = stands;
    }

    async fn look(&self) -> Look {
        match self.api.vm(&self.name, Consistency::Stale).await {
            Ok(vm) if vm.id == self.vm => Look::Is(vm),
            Ok(_) => Look::Gone,
            Err(status) => match request_error(&status) {
                Some(RequestError::VmUnknown { .. }) => Look::Gone,
                _ => Look::Unknown,
            },
        }
    }

    /// Gives what a source still has. False when nobody listens any more.
    async fn drain(&mut self, mut source: Source, to: &Sender) -> bool {
        while let Said::Chunk(chunk) = source.next().await {
            if !self.give(chunk, to).await {
                return false;
            }
        }
        true
    }

    async fn give(&mut self, chunk: LogsChunk, to: &Sender) -> bool {
        if !chunk.place.is_empty() {
            self.request.after.clone_from(&chunk.place);
        }
        to.send(Ok(chunk)).await.is_ok()
    }
}

/// Tells something for people.
async fn tell(what: &str, to: &Sender) {
    // Fails when nobody listens any more, which ends the follower at its next turn.
    let _ = to.send(Ok(LogsChunk { notice: what.to_owned(), ..LogsChunk::default() })).await;
}

enum Look {
    Is(Box<VmView>),
    Gone,
    /// Nobody can tell at the moment.
    Unknown,
}

/// A VM that does not run, in words.
fn stands(vm: &VmView) -> String {
    let host = vm.assigned.map(|(node, _)| format!(" on node {}", node.0)).unwrap_or_default();
    let why = if vm.reason.is_empty() { String::new() } else { format!(" ({})", vm.reason) };
    format!("{}{host}{why}", vm.phase)
}
