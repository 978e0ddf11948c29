//! Asks the cluster: any member, the next one when it does not answer, again when the trouble may pass.

use std::future::Future;
use std::time::Duration;

use blixard_node::error::RequestError;
use blixard_node::ids::{ClientId, NodeId, RequestId, Revision};
use blixard_node::request::{ClusterView, Transition, VmView};
use blixard_proto::error::{error_detail, guest_error, request_error};
use blixard_proto::v1;
use blixard_proto::v1::cluster_service_client::ClusterServiceClient;
use blixard_proto::v1::vm_service_client::VmServiceClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::error::CliError;
use super::output::Output;

/// How long one member may take. More than it waits for its leader.
const ATTEMPT: Duration = Duration::from_secs(7);
/// How long one member may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long to go on when no member has even accepted a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The least time a connected member is given, also when the time allowed is nearly over: the last look at what was
/// waited for should not end in "does not answer".
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
/// The pause after a round of failures: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Trouble is told when it lasts this long.
const SILENCE: Duration = Duration::from_secs(1);

/// A connection to the cluster for the time of one command.
pub(super) struct Client {
    servers: Vec<String>,
    /// Which of `servers` is asked.
    at: usize,
    channel: Option<Channel>,
    /// Whether any member has accepted a connection yet.
    reached: bool,
    /// How long to try, at most a year: that is as good as any longer time, and can be added to a clock.
    time: Duration,
    begun: Instant,
    deadline: Instant,
    session: Option<(ClientId, Revision)>,
    sequence: u64,
    output: Output,
}

/// What a write led to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) revision: u64,
    pub(super) generation: u64,
}

/// A failed attempt that may be repeated.
struct Trouble {
    reason: String,
    /// The cluster's own word, if it gave one.
    error: Option<RequestError>,
}

impl Client {
    pub(super) fn new(servers: &[String], time: Duration, output: Output) -> Self {
        let now = Instant::now();
        let servers = servers.iter().map(|server| server.trim().to_owned()).collect();
        let time = time.min(Duration::from_secs(365 * 24 * 3_600));
        Self {
            servers,
            at: 0,
            channel: None,
            reached: false,
            time,
            begun: now,
            deadline: now + time,
            session: None,
            sequence: 0,
            output,
        }
    }

    /// What is left of the time allowed.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Grants the time allowed anew: to a command that goes on after something else came between.
    pub(super) fn renew(&mut self) {
        self.begun = Instant::now();
        self.deadline = self.begun + self.time;
    }

    /// One VM.
    pub(super) async fn get(&mut self, name: &str, stale: bool) -> Result<VmView, CliError> {
        let request = v1::GetVmRequest { name: name.to_owned(), stale };
        let answer = self
            .call(|channel| {
                let request = request.clone();
                async move { VmServiceClient::new(channel).get(request).await }
            })
            .await?;
        let vm = answer.vm.ok_or_else(|| bad("the VM is missing"))?;
        VmView::try_from(vm).map_err(|error| bad(&error.to_string()))
    }

    /// All VMs by name, and the revision they were seen at.
    pub(super) async fn list(&mut self, stale: bool) -> Result<(u64, Vec<VmView>), CliError> {
        let request = v1::ListVmsRequest { stale };
        let answer =
            self.call(|channel| async move { VmServiceClient::new(channel).list(request).await }).await?;
        let vms: Result<Vec<VmView>, _> = answer.vms.into_iter().map(VmView::try_from).collect();
        Ok((answer.revision, vms.map_err(|error| bad(&error.to_string()))?))
    }

    /// A VM's newest changes of phase, the newest last.
    pub(super) async fn events(
        &mut self,
        name: &str,
        stale: bool,
    ) -> Result<(u64, Vec<Transition>), CliError> {
        let request = v1::EventsRequest { name: name.to_owned(), stale };
        let answer = self
            .call(|channel| {
                let request = request.clone();
                async move { VmServiceClient::new(channel).events(request).await }
            })
            .await?;
        let events: Result<Vec<Transition>, _> =
            answer.events.into_iter().map(Transition::try_from).collect();
        Ok((answer.revision, events.map_err(|error| bad(&error.to_string()))?))
    }

    /// The members.
    pub(super) async fn status(&mut self, stale: bool) -> Result<ClusterView, CliError> {
        let request = v1::StatusRequest { stale };
        let answer = self
            .call(|channel| async move { ClusterServiceClient::new(channel).status(request).await })
            .await?;
        ClusterView::try_from(answer).map_err(|error| bad(&error.to_string()))
    }

    /// Hands leadership over; to whom it goes.
    pub(super) async fn transfer(&mut self, to: Option<NodeId>) -> Result<NodeId, CliError> {
        let request = v1::TransferLeaderRequest { to: to.map(|node| node.0) };
        let answer = self
            .call(|channel| async move { ClusterServiceClient::new(channel).transfer_leader(request).await })
            .await?;
        Ok(NodeId(answer.to))
    }

    /// Sends a change under an id of its own. Its retries carry the same id, so it takes effect once.
    pub(super) async fn write<F, T>(&mut self, send: F) -> Result<Written, CliError>
    where
        F: Fn(Channel, v1::RequestId) -> T,
        T: Future<Output = Result<Response<v1::WriteResponse>, Status>>,
    {
        let id = v1::RequestId::from(self.next_id().await?);
        let answer = self.call(|channel| send(channel, id)).await?;
        Ok(Written { revision: answer.revision, generation: answer.generation })
    }

    async fn next_id(&mut self) -> Result<RequestId, CliError> {
        let (client, born) = match self.session {
            Some(session) => session,
            None => {
                let hello = self
                    .call(|channel| async move {
                        ClusterServiceClient::new(channel).hello(v1::HelloRequest {}).await
                    })
                    .await?;
                let session = (new_client()?, Revision(hello.revision));
                self.session = Some(session);
                session
            }
        };
        self.sequence += 1;
        Ok(RequestId { client, sequence: self.sequence, born })
    }

    /// What a broken stream means: why it broke, when another call may go on where it did, at the next server; or how the
    /// command fails.
    pub(super) fn broke(&mut self, status: &Status) -> Result<String, CliError> {
        let server = self.servers.get(self.at).cloned().unwrap_or_default();
        match verdict(&server, status) {
            Ok(error) => Err(error),
            Err(Trouble { error: Some(error), .. }) => Err(error.into()),
            Err(Trouble { reason, error: None }) => {
                self.channel = None;
                self.at = (self.at + 1) % self.servers.len().max(1);
                Ok(reason)
            }
        }
    }

    /// Asks until there is an answer that repeating does not change, or the time is over.
    pub(super) async fn call<F, T, R>(&mut self, ask: F) -> Result<R, CliError>
    where
        F: Fn(Channel) -> T,
        T: Future<Output = Result<Response<R>, Status>>,
    {
        let mut pause = PAUSE_MIN;
        let mut told = false;
        let mut tried = 0;
        loop {
            let trouble = match self.attempt(&ask).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => return Err(error),
                Err(trouble) => trouble,
            };
            self.channel = None;
            self.at = (self.at + 1) % self.servers.len().max(1);
            tried += 1;
            let patience_over = !self.reached && self.begun.elapsed() >= CONNECT_PATIENCE;
            if self.time_left().is_zero() || (patience_over && tried >= self.servers.len()) {
                return Err(self.give_up(trouble));
            }
            if !told && self.begun.elapsed() >= SILENCE {
                told = true;
                self.output.progress(&format!("{}; trying on", trouble.reason));
            }
            if tried % self.servers.len().max(1) == 0 {
                sleep(pause.min(self.time_left())).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// One attempt at one member: the final outcome, or trouble that may pass.
    async fn attempt<F, T, R>(&mut self, ask: &F) -> Result<Result<R, CliError>, Trouble>
    where
        F: Fn(Channel) -> T,
        T: Future<Output = Result<Response<R>, Status>>,
    {
        let Some(server) = self.servers.get(self.at).cloned() else {
            return Ok(Err(CliError::Usage("--server names no server".into())));
        };
        let trouble = |reason: &str| Trouble { reason: format!("{server}: {reason}"), error: None };
        let channel = match self.channel.clone() {
            Some(channel) => channel,
            None => {
                let endpoint = match Endpoint::from_shared(format!("http://{server}")) {
                    Ok(endpoint) => endpoint.connect_timeout(CONNECT),
                    Err(error) => {
                        let usage =
                            format!("--server {server} is no address such as 127.0.0.1:7001: {error}");
                        return Ok(Err(CliError::Usage(usage)));
                    }
                };
                let span = CONNECT.min(self.time_left());
                match timeout(span, endpoint.connect()).await {
                    Ok(Ok(channel)) => channel,
                    Ok(Err(error)) => return Err(trouble(&root_cause(&error))),
                    Err(_) => return Err(trouble("accepts no connection")),
                }
            }
        };
        self.reached = true;
        self.channel = Some(channel.clone());
        let status = match timeout(ATTEMPT.min(self.time_left().max(ATTEMPT_MIN)), ask(channel)).await {
            Ok(Ok(answer)) => return Ok(Ok(answer.into_inner())),
            Ok(Err(status)) => status,
            Err(_) => return Err(trouble("does not answer")),
        };
        verdict(&server, &status).map(Err)
    }

    fn give_up(&self, trouble: Trouble) -> CliError {
        match trouble.error {
            Some(error) => error.into(),
            None => CliError::Unreachable { servers: self.servers.clone(), reason: trouble.reason },
        }
    }
}

/// What a failed call means: how the command fails, or trouble that may pass.
fn verdict(server: &str, status: &Status) -> Result<CliError, Trouble> {
    match request_error(status) {
        Some(error) if error.is_transient() => {
            return Err(Trouble { reason: error.to_string(), error: Some(error) });
        }
        Some(error) => return Ok(error.into()),
        None => {}
    }
    if let Some(error) = guest_error(status) {
        return Ok(error.into());
    }
    match error_detail(status) {
        Some(detail) => Ok(CliError::Refused { code: detail.code, message: detail.message }),
        None if may_pass(status.code()) => {
            Err(Trouble { reason: format!("{server}: {}", status.message()), error: None })
        }
        None => Ok(bad(&format!("{server} says {:?}: {}", status.code(), status.message()))),
    }
}

/// Whether a failure without a word of Blixard's is one of the way there.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Aborted
    )
}

pub(super) fn bad(reason: &str) -> CliError {
    CliError::BadAnswer { reason: reason.to_owned() }
}

/// The innermost words: those around it only say that there was an error.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn new_client() -> Result<ClientId, CliError> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| CliError::Usage(format!("the system gives no random number: {error}")))?;
    Ok(ClientId(u64::from_ne_bytes(bytes)))
}
