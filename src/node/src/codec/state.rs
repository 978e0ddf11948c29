//! The replicated state, as a snapshot holds it. Derived fields are left out and computed again.

use bytes::Bytes;
use prost::Message as _;
use std::sync::Arc;

use crate::codec::CodecError;
use crate::codec::reply::{AssignedForm, ErrorForm, TransitionForm};
use crate::codec::spec::{HostSpecForm, VmSpecForm};
use crate::codec::wire::{Numbered as _, Wire, decode, part, parts, vm_name};
use crate::config::Settings;
use crate::ids::{ClientId, ClusterId, Epoch, Generation, Incarnation, NodeId, Revision, VmId};
use crate::level::Level;
use crate::request::Transition;
use crate::spec::{Phase, Wanted};
use crate::state::sessions::{Remembered, Session, Sessions};
use crate::state::{Host, State, Vm};
use crate::time::{Duration, WallMs};

/// The longest encoded state that is read, in bytes.
pub const STATE_LEN_MAX: usize = 1 << 30;

/// Encodes a state as a snapshot's data.
#[must_use]
pub fn encode_state(state: &State) -> Bytes {
    state.form().encode_to_vec().into()
}

/// Decodes a snapshot's data.
///
/// # Errors
/// When the bytes are no state that this version knows.
pub fn decode_state(bytes: &[u8]) -> Result<State, CodecError> {
    decode("a state", bytes, STATE_LEN_MAX)
}

/// Of a state its level alone.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct LevelForm {
    #[prost(uint32, tag = "9")]
    level: u32,
}

/// The level of an encoded state, without reading the rest.
pub(crate) fn level_of(state: &[u8]) -> Level {
    Level::from_number(LevelForm::decode(state).map_or(0, |form| form.level))
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SettingsForm {
    #[prost(uint64, tag = "1")]
    lease_ttl_ns: u64,
    #[prost(uint32, tag = "3")]
    clock_drift_ppm: u32,
    #[prost(uint64, tag = "4")]
    kill_grace_ns: u64,
    #[prost(uint64, tag = "6")]
    voters_max: u64,
    #[prost(uint64, tag = "7")]
    sessions_max: u64,
    #[prost(uint64, tag = "8")]
    answers_max: u64,
    #[prost(uint64, tag = "9")]
    vms_max: u64,
}

impl Wire for Settings {
    type Form = SettingsForm;

    fn form(&self) -> SettingsForm {
        SettingsForm {
            lease_ttl_ns: self.lease_ttl.as_nanos(),
            clock_drift_ppm: self.clock_drift_ppm,
            kill_grace_ns: self.kill_grace.as_nanos(),
            voters_max: self.voters_max,
            sessions_max: self.sessions_max,
            answers_max: self.answers_max,
            vms_max: self.vms_max,
        }
    }

    fn read(form: SettingsForm) -> Result<Self, CodecError> {
        Ok(Self {
            lease_ttl: Duration::from_nanos(form.lease_ttl_ns),
            clock_drift_ppm: form.clock_drift_ppm,
            kill_grace: Duration::from_nanos(form.kill_grace_ns),
            voters_max: form.voters_max,
            sessions_max: form.sessions_max,
            answers_max: form.answers_max,
            vms_max: form.vms_max,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HostForm {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(message, optional, tag = "2")]
    spec: Option<HostSpecForm>,
    #[prost(uint64, tag = "3")]
    incarnation: u64,
    #[prost(bool, tag = "4")]
    cordoned: bool,
    #[prost(bool, tag = "5")]
    leaving: bool,
    #[prost(bool, tag = "6")]
    lost: bool,
    #[prost(uint64, tag = "7")]
    set_revision: u64,
    #[prost(string, tag = "8")]
    cordon_reason: String,
}

fn host_form(node: NodeId, host: &Host) -> HostForm {
    HostForm {
        node: node.0,
        spec: Some(host.spec.form()),
        incarnation: host.incarnation.0,
        cordoned: host.cordoned,
        leaving: host.leaving,
        lost: host.lost,
        set_revision: host.set_revision.0,
        cordon_reason: host.cordon_reason.clone(),
    }
}

fn read_host(form: HostForm) -> Result<(NodeId, Host), CodecError> {
    let spec = part("the host's spec", form.spec)?;
    let mut host = Host::new(spec, Incarnation(form.incarnation), Revision(form.set_revision));
    host.cordoned = form.cordoned;
    host.cordon_reason = form.cordon_reason;
    host.leaving = form.leaving;
    host.lost = form.lost;
    Ok((NodeId(form.node), host))
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VmForm {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    spec: Option<VmSpecForm>,
    #[prost(uint64, tag = "4")]
    generation: u64,
    #[prost(uint32, tag = "5")]
    wanted: u32,
    #[prost(bool, tag = "6")]
    deleting: bool,
    #[prost(message, optional, tag = "7")]
    assigned: Option<AssignedForm>,
    #[prost(uint64, tag = "8")]
    epoch: u64,
    #[prost(uint32, tag = "9")]
    phase: u32,
    #[prost(string, tag = "10")]
    reason: String,
    #[prost(uint64, tag = "11")]
    since: u64,
    #[prost(uint32, tag = "12")]
    restarts: u32,
    #[prost(uint64, tag = "13")]
    observed_generation: u64,
    #[prost(string, optional, tag = "14")]
    artifact: Option<String>,
    #[prost(uint64, optional, tag = "15")]
    last_host: Option<u64>,
    #[prost(message, repeated, tag = "16")]
    transitions: Vec<TransitionForm>,
    #[prost(uint64, repeated, tag = "17")]
    hosts: Vec<u64>,
    #[prost(uint64, repeated, tag = "18")]
    purging: Vec<u64>,
}

impl Wire for Vm {
    type Form = VmForm;

    fn form(&self) -> VmForm {
        let assigned = |(node, epoch): (NodeId, Epoch)| AssignedForm { node: node.0, epoch: epoch.0 };
        VmForm {
            id: self.id.0,
            name: self.name.to_string(),
            spec: Some(self.spec.form()),
            generation: self.generation.0,
            wanted: self.wanted.number(),
            deleting: self.deleting,
            assigned: self.assigned.map(assigned),
            epoch: self.epoch.0,
            phase: self.phase.number(),
            reason: self.reason.clone(),
            since: self.since.0,
            restarts: self.restarts,
            observed_generation: self.observed_generation.0,
            artifact: self.artifact.clone(),
            last_host: self.last_host.map(|node| node.0),
            transitions: self.transitions.iter().map(Wire::form).collect(),
            hosts: self.hosts.iter().map(|node| node.0).collect(),
            purging: self.purging.iter().map(|node| node.0).collect(),
        }
    }

    fn read(form: VmForm) -> Result<Self, CodecError> {
        let spec = Arc::new(part("the VM's spec", form.spec)?);
        let mut vm = Self::new(VmId(form.id), vm_name(form.name)?, spec, WallMs(form.since));
        vm.generation = Generation(form.generation);
        vm.wanted = Wanted::from_number(form.wanted)?;
        vm.deleting = form.deleting;
        vm.assigned = form.assigned.map(|assigned| (NodeId(assigned.node), Epoch(assigned.epoch)));
        vm.epoch = Epoch(form.epoch);
        vm.phase = Phase::from_number(form.phase)?;
        vm.reason = form.reason;
        vm.restarts = form.restarts;
        vm.observed_generation = Generation(form.observed_generation);
        vm.artifact = form.artifact;
        vm.last_host = form.last_host.map(NodeId);
        vm.transitions = parts::<Transition>(form.transitions)?.into();
        vm.hosts = form.hosts.into_iter().map(NodeId).chain(vm.last_host).collect();
        vm.purging = form.purging.into_iter().map(NodeId).collect();
        Ok(vm)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RememberedForm {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(fixed64, tag = "2")]
    fingerprint: u64,
    /// With `generation`, when the answer is no error.
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(uint64, tag = "4")]
    generation: u64,
    #[prost(message, optional, tag = "5")]
    error: Option<ErrorForm>,
}

impl Wire for Remembered {
    type Form = RememberedForm;

    fn form(&self) -> RememberedForm {
        let (revision, generation) = self.answer.clone().unwrap_or_default();
        RememberedForm {
            sequence: self.sequence,
            fingerprint: self.fingerprint,
            revision: revision.0,
            generation: generation.0,
            error: self.answer.as_ref().err().map(Wire::form),
        }
    }

    fn read(form: RememberedForm) -> Result<Self, CodecError> {
        let answer = match form.error {
            Some(error) => Err(Wire::read(error)?),
            None => Ok((Revision(form.revision), Generation(form.generation))),
        };
        Ok(Self { sequence: form.sequence, fingerprint: form.fingerprint, answer })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SessionForm {
    #[prost(fixed64, tag = "1")]
    client: u64,
    #[prost(uint64, tag = "2")]
    last_used: u64,
    #[prost(uint64, tag = "3")]
    forgotten_below: u64,
    #[prost(message, repeated, tag = "4")]
    answers: Vec<RememberedForm>,
}

fn session_form(client: ClientId, session: &Session) -> SessionForm {
    SessionForm {
        client: client.0,
        last_used: session.last_used.0,
        forgotten_below: session.forgotten_below,
        answers: session.answers.iter().filter(|_| !planted!(AnswersNotInSnapshot)).map(Wire::form).collect(),
    }
}

fn read_session(form: SessionForm) -> Result<(ClientId, Session), CodecError> {
    let answers: Vec<Remembered> = crate::codec::wire::parts(form.answers)?;
    if !answers.is_sorted_by(|a, b| a.sequence < b.sequence) {
        return Err(CodecError::malformed("a session", "its answers are out of order"));
    }
    let (last_used, forgotten_below) = (Revision(form.last_used), form.forgotten_below);
    Ok((ClientId(form.client), Session { last_used, forgotten_below, answers }))
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StateForm {
    #[prost(fixed64, tag = "1")]
    cluster: u64,
    #[prost(message, optional, tag = "2")]
    settings: Option<SettingsForm>,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(message, repeated, tag = "4")]
    hosts: Vec<HostForm>,
    #[prost(uint64, repeated, tag = "5")]
    removed: Vec<u64>,
    #[prost(message, repeated, tag = "6")]
    vms: Vec<VmForm>,
    #[prost(uint64, tag = "7")]
    sessions_floor: u64,
    #[prost(message, repeated, tag = "8")]
    sessions: Vec<SessionForm>,
    #[prost(uint32, tag = "9")]
    level: u32,
}

impl Wire for State {
    type Form = StateForm;

    fn form(&self) -> StateForm {
        StateForm {
            cluster: self.cluster.0,
            settings: Some(self.settings.form()),
            revision: self.revision.0,
            hosts: self.hosts.iter().map(|(node, host)| host_form(*node, host)).collect(),
            removed: self.removed.iter().map(|node| node.0).collect(),
            vms: self.vms.values().map(Wire::form).collect(),
            sessions_floor: self.sessions.floor().0,
            sessions: self.sessions.iter().map(|(client, session)| session_form(*client, session)).collect(),
            level: if planted!(LevelForgottenInSnapshot) { 0 } else { self.level.number() },
        }
    }

    fn read(form: StateForm) -> Result<Self, CodecError> {
        let settings = part("the cluster's settings", form.settings)?;
        let mut head = Self::new(ClusterId(form.cluster), settings, Revision(form.revision));
        head.level = Level::from_number(form.level);
        let sessions: Result<Vec<_>, _> = form.sessions.into_iter().map(read_session).collect();
        head.sessions = Sessions::restore(Revision(form.sessions_floor), sessions?);
        let hosts: Result<Vec<_>, _> = form.hosts.into_iter().map(read_host).collect();
        let vms: Result<Vec<Vm>, _> = form.vms.into_iter().map(Wire::read).collect();
        Ok(Self::restore(head, hosts?, form.removed.into_iter().map(NodeId), vms?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RequestError;

    /// A session whose answers have these numbers.
    fn session(sequences: &[u64]) -> Session {
        let answer = Err(RequestError::NoLeader);
        let remember =
            |sequence: &u64| Remembered { sequence: *sequence, fingerprint: 9, answer: answer.clone() };
        let answers = sequences.iter().map(remember).collect();
        Session { last_used: Revision(5), forgotten_below: 2, answers }
    }

    /// They are looked up by halving.
    #[test]
    fn a_sessions_answers_are_in_order_and_each_is_one() {
        let back = |sequences: &[u64]| read_session(session_form(ClientId(3), &session(sequences)));
        for good in [&[][..], &[7], &[7, 8, 20]] {
            assert_eq!(back(good), Ok((ClientId(3), session(good))));
        }
        for bad in [&[8, 7][..], &[7, 7], &[7, 9, 8]] {
            let refused = back(bad).map_err(|error| error.to_string());
            assert_eq!(refused, Err("a session: its answers are out of order".into()));
        }
    }

    #[test]
    fn what_is_no_state_is_of_the_first_level() {
        assert_eq!(level_of(&[0xff]), Level::FIRST);
        assert_eq!(level_of(&LevelForm { level: 2 }.encode_to_vec()), Level(2));
    }
}
