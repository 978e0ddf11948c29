//! What Blixard's own values are in the log: messages, entries, requests, answers.

use blixard_node::codec::decode_command;
use blixard_node::command::{Action, Command, Place};
use blixard_node::error::RequestError;
use blixard_node::ids::RequestId;
use blixard_node::message::{Body, Message};
use blixard_node::request::{Read, Reply, Request, Response, VmView, Write};
use blixard_node::spec::{VmName, Wanted};
use blixard_node::state::State;

use super::text;
use super::words::word;
use crate::history::revision_of;

/// What a message is: its kind, term, index, count and commit index.
pub(crate) fn message(message: &Message) -> [u64; 5] {
    match &message.body {
        Body::Raft(raft) => [
            raft_kind(raft.get_msg_type() as u64, raft.reject),
            raft.term,
            raft.index,
            raft.entries.len() as u64,
            raft.commit,
        ],
        Body::SnapshotChunk(chunk) => {
            [word!(MESSAGES, "snapshot-chunk"), chunk.message.term, chunk.offset, chunk.data.len() as u64, 0]
        }
        Body::SnapshotAck { index, term, offset } => {
            [word!(MESSAGES, "snapshot-ack"), *term, *index, *offset, 0]
        }
        Body::Forward { ticket, .. } => [word!(MESSAGES, "forward"), 0, *ticket, 0, 0],
        Body::Forwarded { ticket, reply } => {
            let revision = revision_of(reply).map_or(0, |revision| revision.0);
            [word!(MESSAGES, "forwarded"), 0, *ticket, revision, 0]
        }
        Body::Heartbeat(heartbeat) => {
            [word!(MESSAGES, "heartbeat"), 0, heartbeat.nonce.sequence, heartbeat.reports.len() as u64, 0]
        }
        Body::HeartbeatAck(ack) => {
            let set = ack.set.as_ref().map_or(0, |set| 1 + set.len() as u64);
            [word!(MESSAGES, "heartbeat-ack"), 0, ack.nonce.sequence, set, 0]
        }
        Body::NotLeader { leader, .. } => {
            [word!(MESSAGES, "not-leader"), 0, leader.map_or(0, |leader| leader.0), 0, 0]
        }
        Body::Nudge => [word!(MESSAGES, "nudge"), 0, 0, 0, 0],
        Body::Join(_) => [word!(MESSAGES, "join"), 0, 0, 0, 0],
        Body::Joined { members } => [word!(MESSAGES, "joined"), 0, 0, members.len() as u64, 0],
        Body::Refused { .. } => [word!(MESSAGES, "refused"), 0, 0, 0, 0],
    }
}

/// The numbers are those of raft-rs' `MessageType`.
fn raft_kind(kind: u64, reject: bool) -> u64 {
    match (kind, reject) {
        (3, _) => word!(MESSAGES, "append"),
        (4, false) => word!(MESSAGES, "append-ok"),
        (4, true) => word!(MESSAGES, "append-refused"),
        (5, _) => word!(MESSAGES, "vote"),
        (6, false) => word!(MESSAGES, "vote-granted"),
        (6, true) => word!(MESSAGES, "vote-refused"),
        (7, _) => word!(MESSAGES, "snapshot"),
        (8, _) => word!(MESSAGES, "raft-heartbeat"),
        (9, _) => word!(MESSAGES, "raft-heartbeat-ok"),
        (14, _) => word!(MESSAGES, "timeout-now"),
        (17, _) => word!(MESSAGES, "pre-vote"),
        (18, false) => word!(MESSAGES, "pre-vote-granted"),
        (18, true) => word!(MESSAGES, "pre-vote-refused"),
        _ => word!(MESSAGES, "raft"),
    }
}

/// Names a request: the same for all attempts of an operation. Never 0.
pub(crate) fn request_name(id: &RequestId) -> u64 {
    id.client.0.wrapping_mul(31).wrapping_add(id.sequence).max(1)
}

/// The numbers of `decided` lines, but for the index, of an entry that holds `data`, as `state` stands after it.
pub(crate) fn decided(data: &[u8], state: &State, mut line: impl FnMut([u64; 7])) {
    if data.is_empty() {
        return line([word!(DECISIONS, "nothing"), 0, 0, 0, 0, 0, 0]);
    }
    let Ok(Command { action, .. }) = decode_command(data) else {
        return line([word!(DECISIONS, "other"), 0, 0, 0, 0, 0, 0]);
    };
    let host = |what, node: u64| [what, 0, node, 0, 0, 0, 0];
    match action {
        Action::Client { id, write, place } => line(client_write(&id, &write, &place, state)),
        Action::AddHost { node, .. } => line(host(word!(DECISIONS, "add-host"), node.0)),
        Action::DropHost { node } => line(host(word!(DECISIONS, "drop-host"), node.0)),
        Action::LoseHost { node } => line(host(word!(DECISIONS, "lose-host"), node.0)),
        Action::RegainHost { node } => line(host(word!(DECISIONS, "regain-host"), node.0)),
        Action::RaiseLevel { .. } => line(host(word!(DECISIONS, "raise-level"), 0)),
        Action::Assign { moves } => {
            for placement in moves {
                let [first, second] = text::pack(placement.name.as_str());
                let epoch = epoch_of(&placement.name, state).unwrap_or(placement.epoch.0 + 1);
                line([word!(DECISIONS, "assign"), placement.vm.0, placement.to.0, epoch, first, second, 0]);
            }
        }
        Action::Report { node, reports } => {
            for report in reports {
                line([word!(DECISIONS, "report"), report.run.vm.0, node.0, report.run.epoch.0, 0, 0, 0]);
            }
        }
    }
}

fn epoch_of(name: &VmName, state: &State) -> Option<u64> {
    state.vms.get(name)?.assigned.map(|(_, epoch)| epoch.0)
}

fn client_write(id: &RequestId, write: &Write, chosen: &Place, state: &State) -> [u64; 7] {
    let (what, name) = decision(write);
    let node = match (write, chosen) {
        (Write::CordonHost { node, .. } | Write::RemoveHost { node }, _) | (_, Place::On(node)) => node.0,
        (_, Place::Unneeded | Place::Nowhere(_)) => 0,
    };
    let vm = name.and_then(|name| state.vms.get(name)).map_or(0, |vm| vm.id.0);
    let epoch = name.filter(|_| node > 0).and_then(|name| epoch_of(name, state)).unwrap_or(0);
    let [first, second] = text::pack(name.map_or("", VmName::as_str));
    [what, vm, node, epoch, first, second, request_name(id)]
}

fn decision(write: &Write) -> (u64, Option<&VmName>) {
    match write {
        Write::CreateVm { name, .. } => (word!(DECISIONS, "create"), Some(name)),
        Write::StartVm { name, .. } => (word!(DECISIONS, "start"), Some(name)),
        Write::StopVm { name, .. } => (word!(DECISIONS, "stop"), Some(name)),
        Write::DeleteVm { name, .. } => (word!(DECISIONS, "delete"), Some(name)),
        Write::UpdateVm { name, .. } => (word!(DECISIONS, "update"), Some(name)),
        Write::CordonHost { cordoned: true, .. } => (word!(DECISIONS, "cordon"), None),
        Write::CordonHost { .. } => (word!(DECISIONS, "uncordon"), None),
        Write::RemoveHost { .. } => (word!(DECISIONS, "remove-host"), None),
    }
}

/// What an operation asks: its word, the VM's name in two, the generation it insists on, the request's name.
pub(crate) fn operation(request: &Request) -> [u64; 5] {
    let (what, name, generation, id) = match request {
        Request::Write { id, write } => {
            let (what, name) = asked_write(write);
            (what, name, expected(write), request_name(id))
        }
        Request::Read { read, .. } => match read {
            Read::GetVm { name } => (word!(OPERATIONS, "get"), Some(name), 0, 0),
            Read::ListVms => (word!(OPERATIONS, "list"), None, 0, 0),
            Read::VmEvents { name } => (word!(OPERATIONS, "events"), Some(name), 0, 0),
            Read::ClusterStatus => (word!(OPERATIONS, "status"), None, 0, 0),
        },
        Request::TransferLeader { .. } => (word!(OPERATIONS, "transfer"), None, 0, 0),
    };
    let [first, second] = text::pack(name.map_or("", VmName::as_str));
    [what, first, second, generation, id]
}

fn asked_write(write: &Write) -> (u64, Option<&VmName>) {
    match write {
        Write::CreateVm { name, .. } => (word!(OPERATIONS, "create"), Some(name)),
        Write::StartVm { name, .. } => (word!(OPERATIONS, "start"), Some(name)),
        Write::StopVm { name, .. } => (word!(OPERATIONS, "stop"), Some(name)),
        Write::DeleteVm { name, .. } => (word!(OPERATIONS, "delete"), Some(name)),
        Write::UpdateVm { name, .. } => (word!(OPERATIONS, "update"), Some(name)),
        Write::CordonHost { .. } => (word!(OPERATIONS, "cordon"), None),
        Write::RemoveHost { .. } => (word!(OPERATIONS, "remove"), None),
    }
}

fn expected(write: &Write) -> u64 {
    match write {
        Write::StartVm { generation, .. }
        | Write::StopVm { generation, .. }
        | Write::DeleteVm { generation, .. }
        | Write::UpdateVm { generation, .. } => generation.map_or(0, |generation| generation.0),
        Write::CreateVm { .. } | Write::CordonHost { .. } | Write::RemoveHost { .. } => 0,
    }
}

/// What an answer says: the VM's id, its generation, the word.
pub(crate) fn answer(reply: &Reply) -> [u64; 3] {
    match reply {
        Ok(Response::Written { generation, .. }) => [0, generation.0, word!(ANSWERS, "written")],
        Ok(Response::Vm { vm, .. }) => [vm.id.0, vm.generation.0, seen(vm)],
        Ok(Response::Vms { .. }) => [0, 0, word!(ANSWERS, "listed")],
        Ok(_) => [0, 0, word!(ANSWERS, "other")],
        Err(error) => [0, 0, refusal(error)],
    }
}

fn seen(vm: &VmView) -> u64 {
    match vm.wanted {
        _ if vm.deleting => word!(ANSWERS, "deleting"),
        Wanted::Running => word!(ANSWERS, "wanted-running"),
        Wanted::Stopped => word!(ANSWERS, "wanted-stopped"),
    }
}

fn refusal(error: &RequestError) -> u64 {
    match error {
        RequestError::VmExists { .. } => word!(ANSWERS, "vm-exists"),
        RequestError::VmUnknown { .. } => word!(ANSWERS, "vm-unknown"),
        RequestError::GenerationConflict { .. } => word!(ANSWERS, "generation-conflict"),
        RequestError::VmDeleting { .. } => word!(ANSWERS, "vm-deleting"),
        RequestError::VmNotStopped { .. } => word!(ANSWERS, "vm-not-stopped"),
        RequestError::NoRoom { .. } => word!(ANSWERS, "no-room"),
        RequestError::SessionExpired { .. } => word!(ANSWERS, "session-expired"),
        RequestError::IdReused { .. } => word!(ANSWERS, "id-reused"),
        RequestError::BelowLevel { .. } => word!(ANSWERS, "below-level"),
        _ => word!(ANSWERS, "other-error"),
    }
}
