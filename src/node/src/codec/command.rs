//! Log entries' commands.

use bytes::Bytes;
use prost::Message as _;

use crate::codec::CodecError;
use crate::codec::request::{NothingForm, RequestIdForm, WriteForm};
use crate::codec::spec::{HostSpecForm, NodeTextForm, VmReportForm};
use crate::codec::wire::{Wire, decode, forms, part, parts, vm_name};
use crate::command::{Action, Command, Place, Placement};
use crate::ids::{Epoch, Incarnation, NodeId, VmId};
use crate::level::Level;
use crate::time::WallMs;

/// The longest encoded command that is read, in bytes.
pub const COMMAND_LEN_MAX: usize = 32 << 20;

/// Encodes a command as a log entry's data.
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    command.form().encode_to_vec().into()
}

/// Decodes a log entry's data.
///
/// # Errors
/// When the bytes are no command that this version knows.
pub fn decode_command(bytes: &[u8]) -> Result<Command, CodecError> {
    decode("a command", bytes, COMMAND_LEN_MAX)
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClientForm {
    #[prost(message, optional, tag = "1")]
    id: Option<RequestIdForm>,
    #[prost(message, optional, tag = "2")]
    write: Option<WriteForm>,
    #[prost(oneof = "PlaceKind", tags = "3, 4, 5")]
    place: Option<PlaceKind>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NowhereForm {
    #[prost(message, repeated, tag = "1")]
    hosts: Vec<NodeTextForm>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum PlaceKind {
    #[prost(message, tag = "3")]
    Unneeded(NothingForm),
    #[prost(uint64, tag = "4")]
    On(u64),
    #[prost(message, tag = "5")]
    Nowhere(NowhereForm),
}

fn place_form(place: &Place) -> PlaceKind {
    match place {
        Place::Unneeded => PlaceKind::Unneeded(NothingForm {}),
        Place::On(node) => PlaceKind::On(node.0),
        Place::Nowhere(hosts) => PlaceKind::Nowhere(NowhereForm { hosts: forms(hosts) }),
    }
}

fn read_place(kind: PlaceKind) -> Result<Place, CodecError> {
    Ok(match kind {
        PlaceKind::Unneeded(NothingForm {}) => Place::Unneeded,
        PlaceKind::On(node) => Place::On(NodeId(node)),
        PlaceKind::Nowhere(NowhereForm { hosts }) => Place::Nowhere(parts(hosts)?),
    })
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AddHostForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(message, optional, tag = "3")]
    host: Option<HostSpecForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PlacementForm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    vm: u64,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(uint64, tag = "4")]
    to: u64,
}

impl Wire for Placement {
    type Form = PlacementForm;

    fn form(&self) -> PlacementForm {
        PlacementForm {
            name: self.name.as_str().to_owned(),
            vm: self.vm.0,
            epoch: self.epoch.0,
            to: self.to.0,
        }
    }

    fn read(form: PlacementForm) -> Result<Self, CodecError> {
        Ok(Self {
            name: vm_name(form.name)?,
            vm: VmId(form.vm),
            epoch: Epoch(form.epoch),
            to: NodeId(form.to),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AssignForm {
    #[prost(message, repeated, tag = "1")]
    moves: Vec<PlacementForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReportForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(message, repeated, tag = "2")]
    reports: Vec<VmReportForm>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ActionKind {
    #[prost(message, tag = "2")]
    Client(ClientForm),
    #[prost(message, tag = "3")]
    AddHost(AddHostForm),
    #[prost(uint64, tag = "4")]
    LoseHost(u64),
    #[prost(uint64, tag = "5")]
    RegainHost(u64),
    #[prost(message, tag = "6")]
    Assign(AssignForm),
    #[prost(message, tag = "7")]
    Report(ReportForm),
    #[prost(uint64, tag = "8")]
    DropHost(u64),
    #[prost(uint32, tag = "9")]
    RaiseLevel(u32),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CommandForm {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(oneof = "ActionKind", tags = "2, 3, 4, 5, 6, 7, 8, 9")]
    action: Option<ActionKind>,
}

impl Wire for Command {
    type Form = CommandForm;

    fn form(&self) -> CommandForm {
        let action = match &self.action {
            Action::Client { id, write, place } => ActionKind::Client(ClientForm {
                id: Some(id.form()),
                write: Some(write.form()),
                place: Some(place_form(place)),
            }),
            Action::AddHost { node, incarnation, host } => ActionKind::AddHost(AddHostForm {
                node: node.0,
                incarnation: incarnation.0,
                host: Some(host.form()),
            }),
            Action::DropHost { node } => ActionKind::DropHost(node.0),
            Action::RaiseLevel { to } => ActionKind::RaiseLevel(to.0),
            Action::LoseHost { node } => ActionKind::LoseHost(node.0),
            Action::RegainHost { node } => ActionKind::RegainHost(node.0),
            Action::Assign { moves } => ActionKind::Assign(AssignForm { moves: forms(moves) }),
            Action::Report { node, reports } => {
                ActionKind::Report(ReportForm { node: node.0, reports: forms(reports) })
            }
        };
        CommandForm { at: self.at.0, action: Some(action) }
    }

    fn read(form: CommandForm) -> Result<Self, CodecError> {
        let action = match form.action.ok_or(CodecError::Missing { what: "the command's action" })? {
            ActionKind::Client(ClientForm { id, write, place }) => Action::Client {
                id: part("the command's request id", id)?,
                write: part("the command's write", write)?,
                place: read_place(place.ok_or(CodecError::Missing { what: "the command's place" })?)?,
            },
            ActionKind::AddHost(AddHostForm { node, incarnation, host }) => Action::AddHost {
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                host: part("the new host", host)?,
            },
            ActionKind::DropHost(node) => Action::DropHost { node: NodeId(node) },
            ActionKind::RaiseLevel(to) => Action::RaiseLevel { to: Level(to) },
            ActionKind::LoseHost(node) => Action::LoseHost { node: NodeId(node) },
            ActionKind::RegainHost(node) => Action::RegainHost { node: NodeId(node) },
            ActionKind::Assign(AssignForm { moves }) => Action::Assign { moves: parts(moves)? },
            ActionKind::Report(ReportForm { node, reports }) => {
                Action::Report { node: NodeId(node), reports: parts(reports)? }
            }
        };
        Ok(Self { at: WallMs(form.at), action })
    }
}
