//! `blixard vm …`

use std::time::Duration;

use blixard_node::error::RequestError;
use blixard_node::request::VmView;
use blixard_node::spec::{Phase, VmName, Wanted};
use blixard_proto::v1;
use blixard_proto::v1::vm_service_client::VmServiceClient;
use tokio::time::sleep;

use super::args::{Change, Source, VmCommand};
use super::client::{Client, Written};
use super::error::{CliError, Exit};
use super::output::Output;
use super::{console, events, logs, ports, source, update, view};

/// How often the cluster is asked for an outcome: at first, and later.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_millis(500);

/// What a change is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Running,
    Stopped,
    Gone { keep_volumes: bool },
}

impl Goal {
    fn is_gone(self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// What is so while the goal is not reached.
    fn missed(self, name: &str) -> String {
        match self {
            Self::Running => format!("VM {name} does not run"),
            Self::Stopped => format!("VM {name} has not stopped"),
            Self::Gone { .. } => format!("VM {name} is not gone"),
        }
    }
}

pub(super) async fn run(command: VmCommand, mut client: Client, output: Output, wait: bool) -> Exit {
    match command {
        VmCommand::Create { names, name, source } => {
            let given = names.first().cloned().or(name);
            let created = match one_name(&names) {
                Ok(()) => create(&mut client, output, given.clone(), &source).await,
                Err(error) => Err(error),
            };
            match created {
                Ok(vm) => {
                    output.show(&vm);
                    Exit::Ok
                }
                Err(error) => fail(output, &error, given.as_deref()),
            }
        }
        VmCommand::Update(args) => {
            let given = args.names.first().cloned().or(args.name.clone());
            let updated = match one_name(&args.names) {
                Ok(()) => update::run(&args, given.clone(), &mut client, output).await,
                Err(error) => Err(error),
            };
            done(output, given.as_deref(), updated)
        }
        VmCommand::Start(change) => changes(client, output, change, Goal::Running, wait).await,
        VmCommand::Stop(change) => changes(client, output, change, Goal::Stopped, wait).await,
        VmCommand::Delete { change, keep_volumes } => {
            changes(client, output, change, Goal::Gone { keep_volumes }, wait).await
        }
        VmCommand::Status { names, stale } => {
            let mut exit = Exit::Ok;
            let mut vms = Vec::new();
            for name in names.all() {
                match client.get(&name, stale).await {
                    Ok(vm) => vms.push(view::VmDetail(view::Vm::from(&vm))),
                    Err(error) => exit = first(exit, fail(output, &error, Some(&name))),
                }
            }
            if !vms.is_empty() {
                output.show_each(&vms);
            }
            exit
        }
        VmCommand::Logs(args) => {
            done(output, Some(args.vm.name()), logs::run(&args, &mut client, output).await)
        }
        VmCommand::Console(args) => {
            done(output, Some(args.vm.name()), console::run(&args, &mut client, output).await)
        }
        VmCommand::Events { names, all, follow, stale } => {
            let asked = events::Asked { names: names.all(), all, follow, stale };
            done(output, None, events::run(asked, &mut client, output).await)
        }
        VmCommand::Ports { names, stale } => {
            done(output, None, ports::run(&names.all(), stale, &mut client, output).await)
        }
        VmCommand::List { stale } => match client.list(stale).await {
            Ok((revision, vms)) => {
                output.show(&view::VmList::new(revision, &vms));
                Exit::Ok
            }
            Err(error) => fail(output, &error, None),
        },
    }
}

fn fail(output: Output, error: &CliError, name: Option<&str>) -> Exit {
    output.fail(error, name);
    error.exit()
}

fn done(output: Output, name: Option<&str>, done: Result<(), CliError>) -> Exit {
    match done {
        Ok(()) => Exit::Ok,
        Err(error) => fail(output, &error, name),
    }
}

fn first(before: Exit, now: Exit) -> Exit {
    if before == Exit::Ok { now } else { before }
}

fn one_name(names: &[String]) -> Result<(), CliError> {
    if names.len() > 1 {
        return Err(CliError::Usage("one file makes one VM: give one name".into()));
    }
    Ok(())
}

async fn create(
    client: &mut Client,
    output: Output,
    given: Option<String>,
    source: &Source,
) -> Result<view::Vm, CliError> {
    let (name, spec) = source::read(source, given)?;
    source::warn_of_path(&spec, output);
    let spec = v1::VmSpec::from(&spec);
    client
        .write(|channel, id| {
            let request =
                v1::CreateVmRequest { id: Some(id), name: name.to_string(), spec: Some(spec.clone()) };
            async move { VmServiceClient::new(channel).create(request).await }
        })
        .await?;
    Ok(view::Vm::from(&client.get(name.as_str(), false).await?))
}

pub(super) fn check_name(name: &str) -> Result<VmName, CliError> {
    VmName::new(name).map_err(|error| CliError::Usage(error.to_string()))
}

/// Sends the change for every name, then waits for each; the first failure gives the exit code.
async fn changes(mut client: Client, output: Output, change: Change, goal: Goal, wait: bool) -> Exit {
    let names = change.names.all();
    let mut exit = Exit::Ok;
    if change.generation.is_some() && names.len() > 1 {
        let usage = "--generation is that of one VM: give one name".into();
        return fail(output, &CliError::Usage(usage), None);
    }
    let mut taken = Vec::new();
    for name in names {
        match send(&mut client, &name, change.generation, goal).await {
            Ok(written) => taken.push((name, written)),
            Err(error) => exit = first(exit, fail(output, &error, Some(&name))),
        }
    }
    if !wait || goal.is_gone() {
        let mut gone = Vec::new();
        for (name, Written { revision, generation }) in taken {
            let waited =
                if wait { wait_for(&mut client, output, &name, generation, goal).await } else { Ok(None) };
            match waited {
                Ok(_) => gone.push(view::Change { name, revision, generation, deleted: wait }),
                Err(error) => exit = first(exit, fail(output, &error, Some(&name))),
            }
        }
        if !gone.is_empty() {
            output.show_each(&gone);
        }
        return exit;
    }
    let mut vms = Vec::new();
    for (name, Written { generation, .. }) in taken {
        match wait_for(&mut client, output, &name, generation, goal).await {
            Ok(vm) => vms.extend(vm.as_ref().map(view::Vm::from)),
            Err(error) => exit = first(exit, fail(output, &error, Some(&name))),
        }
    }
    if !vms.is_empty() {
        output.show_each(&vms);
    }
    exit
}

async fn send(
    client: &mut Client,
    name: &str,
    generation: Option<u64>,
    goal: Goal,
) -> Result<Written, CliError> {
    let name = check_name(name)?.to_string();
    client
        .write(|channel, id| {
            let (id, name) = (Some(id), name.clone());
            async move {
                let mut service = VmServiceClient::new(channel);
                match goal {
                    Goal::Running => service.start(v1::ChangeVmRequest { id, name, generation }).await,
                    Goal::Stopped => service.stop(v1::ChangeVmRequest { id, name, generation }).await,
                    Goal::Gone { keep_volumes } => {
                        service.delete(v1::DeleteVmRequest { id, name, generation, keep_volumes }).await
                    }
                }
            }
        })
        .await
}

/// Waits for a change's outcome, telling on the way why it is not there yet. The VM as it then is, unless it is gone.
async fn wait_for(
    client: &mut Client,
    output: Output,
    name: &str,
    generation: u64,
    goal: Goal,
) -> Result<Option<VmView>, CliError> {
    let mut told = String::new();
    let mut poll = POLL_MIN;
    let mut id = None;
    loop {
        let vm = match client.get(name, false).await {
            Ok(vm) => vm,
            Err(CliError::Request(error)) if matches!(*error, RequestError::VmUnknown { .. }) => {
                return if goal.is_gone() { Ok(None) } else { Err(overtaken(name, "was deleted")) };
            }
            // The change was taken: that nobody can tell how it stands is no reason to call it failed.
            Err(error) if error.exit() == Exit::Unavailable && !told.is_empty() => {
                return Err(CliError::Pending {
                    what: goal.missed(name),
                    stands: format!("unknown ({error}), at last {told}"),
                });
            }
            Err(error) => return Err(error),
        };
        if *id.get_or_insert(vm.id) != vm.id || (goal.is_gone() && !vm.deleting) {
            // Another VM of that name: the one asked for is gone.
            let another = "was deleted, and created anew";
            return if goal.is_gone() { Ok(None) } else { Err(overtaken(name, another)) };
        }
        if let Some(outcome) = outcome(&vm, generation, goal) {
            return outcome.map(|()| Some(vm));
        }
        let stands = stands(&vm, generation);
        if client.time_left().is_zero() {
            return Err(CliError::Pending { what: goal.missed(name), stands });
        }
        if stands != told {
            output.progress(&format!("{name}: {stands}"));
            told = stands;
        }
        sleep(poll.min(client.time_left())).await;
        poll = (poll * 3 / 2).min(POLL_MAX);
    }
}

/// Whether the goal is reached or cannot be any more; none while it is under way.
fn outcome(vm: &VmView, generation: u64, goal: Goal) -> Option<Result<(), CliError>> {
    let wanted = match goal {
        Goal::Running => Wanted::Running,
        Goal::Stopped | Goal::Gone { .. } => Wanted::Stopped,
    };
    if !goal.is_gone() && (vm.wanted != wanted || vm.deleting) {
        let how = match (vm.deleting, vm.wanted) {
            (true, _) => "is being deleted",
            (false, Wanted::Running) => "was started again",
            (false, Wanted::Stopped) => "was stopped",
        };
        return Some(Err(overtaken(vm.name.as_str(), how)));
    }
    if vm.observed_generation.0 < generation {
        return None;
    }
    match (goal, vm.phase) {
        (Goal::Running, Phase::Running) | (Goal::Stopped, Phase::Stopped) => Some(Ok(())),
        (Goal::Running, Phase::Exited) => {
            let why = if vm.reason.is_empty() { String::new() } else { format!(": {}", vm.reason) };
            let what = format!(
                "VM {0} has ended, and its restart policy leaves it so{why}; to run it again, stop and start it",
                vm.name
            );
            Some(Err(CliError::Otherwise { what }))
        }
        _ => None,
    }
}

fn overtaken(name: &str, how: &str) -> CliError {
    CliError::Overtaken { what: format!("VM {name} {how} by another command meanwhile") }
}

/// Where a VM stands, and why, in words.
fn stands(vm: &VmView, generation: u64) -> String {
    let host = vm.assigned.map(|(node, _)| format!(" on node {}", node.0)).unwrap_or_default();
    if vm.observed_generation.0 < generation && vm.reason.is_empty() {
        return match vm.assigned {
            Some((node, _)) => format!("waiting for node {} to act on it", node.0),
            None => "pending".into(),
        };
    }
    let why = if vm.reason.is_empty() { String::new() } else { format!(" ({})", vm.reason) };
    format!("{}{host}{why}", vm.phase)
}
