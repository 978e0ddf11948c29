//! One VM name as a sequential object.
//!
//! A deleted VM goes away by itself, at a time no client is told. The state after a delete is therefore "on its
//! way out, or gone": what the next operation finds settles which.

use blixard_node::error::RequestError;
use blixard_node::ids::{Generation, VmId};
use blixard_node::request::{Read, Reply, Request, Response, VmView, Write};
use blixard_node::spec::{VmName, Wanted};

use super::{Mark, Model, Timed, Unanswered};
use crate::history::{Operation, Outcome};

/// The model.
#[derive(Clone, Copy, Debug, Default)]
pub struct VmModel;

/// Which VM it is. Identities are never used again, and rise.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// An answer has told it.
    Known(VmId),
    /// Not told yet: one after the newest that was told under the name.
    After(Option<VmId>),
}

impl Identity {
    /// Whether this is `vm`, as far as is known.
    fn may_be(self, vm: VmId) -> bool {
        match self {
            Self::Known(known) => known == vm,
            Self::After(last) => last.is_none_or(|last| vm > last),
        }
    }

    /// The newest one that was told.
    fn last(self) -> Option<VmId> {
        match self {
            Self::Known(vm) => Some(vm),
            Self::After(last) => last,
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(vm) => write!(f, "{vm}"),
            Self::After(Some(last)) => write!(f, "later than {last}"),
            Self::After(None) => f.write_str("any"),
        }
    }
}

/// What stands under the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmState {
    /// Nothing.
    Absent {
        /// The newest VM that an answer has told of.
        last: Option<VmId>,
    },
    /// A VM.
    Present {
        /// Which.
        vm: Identity,
        /// Its generation.
        generation: Generation,
        /// What is wanted of it.
        wanted: Wanted,
    },
    /// A deleted VM that may have gone meanwhile.
    Leaving {
        /// Which.
        vm: Identity,
        /// Its generation.
        generation: Generation,
    },
}

/// An operation on the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VmOp {
    /// What was asked.
    pub call: VmCall,
    /// The generation it was asked for.
    pub expected: Option<Generation>,
    /// What was answered, if an answer came.
    pub seen: Option<Seen>,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmCall {
    /// Creates the VM, stopped.
    Create,
    /// Wants it running.
    Start,
    /// Wants it stopped.
    Stop,
    /// Removes it.
    Delete,
    /// Gives it another spec.
    Update,
    /// Looks at it.
    Get,
}

/// What can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Done.
    Done {
        /// The VM's identity, where the answer tells it.
        vm: Option<VmId>,
        /// Its generation afterwards.
        generation: Generation,
    },
    /// The VM.
    Vm {
        /// Its identity.
        vm: VmId,
        /// Its generation.
        generation: Generation,
        /// What is wanted of it.
        wanted: Wanted,
        /// Whether it is on its way out.
        deleting: bool,
    },
    /// There is none.
    Unknown,
    /// There is one already.
    Exists,
    /// It is on its way out.
    Deleting,
    /// It is at another generation.
    Conflict(Generation),
    /// No host can take it.
    NoRoom,
    /// It runs, or is not yet known to have stopped.
    NotStopped,
    /// The cluster takes no such VM, whatever stands under the name.
    NotTaken,
}

impl Model for VmModel {
    type State = VmState;
    type Op = VmOp;

    fn initial(&self) -> VmState {
        VmState::Absent { last: None }
    }

    fn step(&self, state: &VmState, op: &VmOp) -> Option<VmState> {
        let Some(seen) = op.seen else { return effect(*state, op) };
        match (*state, seen) {
            (_, Seen::Unknown) => absent(*state, op.call),
            (VmState::Absent { .. } | VmState::Leaving { .. }, Seen::Done { .. })
                if op.call == VmCall::Create =>
            {
                created(last_of(*state), seen)
            }
            (VmState::Absent { .. }, Seen::NotTaken) => (op.call == VmCall::Create).then_some(*state),
            (VmState::Leaving { vm, .. }, Seen::NotTaken) => {
                (op.call == VmCall::Create).then_some(VmState::Absent { last: vm.last() })
            }
            (VmState::Absent { .. }, _) => None,
            (VmState::Present { vm, generation, wanted }, _) => present(vm, generation, wanted, op, seen),
            (VmState::Leaving { vm, generation }, _) => leaving(vm, generation, op, seen),
        }
    }

    fn only_looks(&self, op: &VmOp) -> bool {
        op.call == VmCall::Get || op.seen.is_some_and(|seen| !matches!(seen, Seen::Done { .. }))
    }

    fn is_weaker(&self, less: &VmOp, more: &VmOp) -> bool {
        less.call == more.call && less.expected.is_some() && more.expected.is_none()
    }

    fn mark(&self, op: &VmOp) -> Option<Mark> {
        match op.seen? {
            Seen::Vm { vm, generation, .. } => Some((vm.0, generation.0)),
            // Nothing has been seen of the VM that is created.
            Seen::Done { vm: Some(vm), .. } => Some((vm.0, 0)),
            _ => None,
        }
    }

    fn is_past(&self, state: &VmState, (vm, at): Mark) -> bool {
        match *state {
            VmState::Present { vm: Identity::Known(known), generation, .. }
            | VmState::Leaving { vm: Identity::Known(known), generation } => {
                (known.0, generation.0) > (vm, at)
            }
            _ => last_of(*state).is_some_and(|last| last.0 >= vm),
        }
    }

    /// Generations rise by one with each operation. From beyond the one that `op` has seen, a way leads through the VM's end, and that was open
    /// before, unless the end itself was asked for at a later generation. And what has ended comes back only by being created, as another VM.
    fn in_reach(&self, state: &VmState, op: &VmOp, unanswered: &Unanswered<'_, VmOp>) -> bool {
        let here = matches!(state, VmState::Present { .. });
        let creates = || unanswered.kinds.iter().any(|other| other.call == VmCall::Create);
        if !here && needs_presence(op) && !creates() {
            return false;
        }
        let now = generation_of(*state);
        if let Some(Seen::Vm { vm, .. }) = op.seen
            && last_of(*state).is_some_and(|last| last > vm)
        {
            return false;
        }
        let Some(seen) = generation_seen(op) else { return true };
        // The last step may be `op` itself.
        if seen.0 > now.0 + unanswered.left + 1 {
            return false;
        }
        let ends_later = |other: &&VmOp| {
            other.call == VmCall::Delete && other.expected.is_some_and(|expected| expected >= now)
        };
        !here || now <= seen || unanswered.kinds.iter().any(ends_later)
    }
}

/// Whether `op` can be answered so only when the VM is there and not on its way out.
fn needs_presence(op: &VmOp) -> bool {
    match (op.call, op.seen) {
        (VmCall::Create, seen) => seen == Some(Seen::Exists),
        (VmCall::Delete, _) => false,
        (_, Some(Seen::Done { .. } | Seen::NoRoom | Seen::NotStopped | Seen::NotTaken)) => true,
        (_, Some(Seen::Vm { deleting, .. })) => !deleting,
        _ => false,
    }
}

/// The generation of a VM that is there, at most, when `op` is answered so; none when it can be any.
fn generation_seen(op: &VmOp) -> Option<Generation> {
    match op.seen? {
        Seen::Done { generation, .. } | Seen::Vm { generation, .. } | Seen::Conflict(generation) => {
            Some(generation)
        }
        Seen::Unknown => Some(Generation(0)),
        Seen::Exists | Seen::Deleting | Seen::NoRoom | Seen::NotStopped | Seen::NotTaken => op.expected,
    }
}

/// The effect of an operation whose answer is not known.
fn effect(state: VmState, op: &VmOp) -> Option<VmState> {
    match (state, op.call) {
        (VmState::Absent { .. } | VmState::Leaving { .. }, VmCall::Create) => {
            let vm = Identity::After(last_of(state));
            Some(VmState::Present { vm, generation: Generation(1), wanted: Wanted::Stopped })
        }
        (VmState::Present { generation, .. }, _)
            if op.expected.is_some_and(|expected| expected != generation) =>
        {
            None
        }
        (VmState::Present { vm, generation, wanted }, call) => changed(vm, generation, wanted, call),
        _ => None,
    }
}

/// A VM that was there, changed; none when the call leaves it as it is.
fn changed(vm: Identity, generation: Generation, wanted: Wanted, call: VmCall) -> Option<VmState> {
    let next = Generation(generation.0 + 1);
    match (call, wanted) {
        (VmCall::Start, Wanted::Stopped) => {
            Some(VmState::Present { vm, generation: next, wanted: Wanted::Running })
        }
        (VmCall::Stop, Wanted::Running) => {
            Some(VmState::Present { vm, generation: next, wanted: Wanted::Stopped })
        }
        (VmCall::Delete, _) => Some(VmState::Leaving { vm, generation: next }),
        (VmCall::Update, Wanted::Stopped) => Some(VmState::Present { vm, generation: next, wanted }),
        _ => None,
    }
}

fn absent(state: VmState, call: VmCall) -> Option<VmState> {
    let gone = !matches!(state, VmState::Present { .. }) && call != VmCall::Create;
    gone.then_some(VmState::Absent { last: last_of(state) })
}

fn created(last: Option<VmId>, seen: Seen) -> Option<VmState> {
    let Seen::Done { vm, generation } = seen else { return None };
    let fresh = generation == Generation(1) && vm.is_none_or(|vm| Identity::After(last).may_be(vm));
    let vm = vm.map_or(Identity::After(last), Identity::Known);
    fresh.then_some(VmState::Present { vm, generation, wanted: Wanted::Stopped })
}

fn present(vm: Identity, generation: Generation, wanted: Wanted, op: &VmOp, seen: Seen) -> Option<VmState> {
    let same = VmState::Present { vm, generation, wanted };
    if op.expected.is_some_and(|expected| expected != generation) {
        return (seen == Seen::Conflict(generation)).then_some(same);
    }
    match (op.call, seen) {
        (VmCall::Create, Seen::Exists) => Some(same),
        (VmCall::Get, Seen::Vm { vm: id, generation: at, wanted: want, deleting: false }) => {
            let fits = vm.may_be(id) && at == generation && want == wanted;
            fits.then_some(VmState::Present { vm: Identity::Known(id), generation, wanted })
        }
        // A VM wanted stopped may still be assigned, which no answer shows.
        (VmCall::Update, Seen::NotStopped) => Some(same),
        // A VM with a local volume keeps having one, which no answer shows either.
        (VmCall::Update, Seen::NotTaken) => (wanted == Wanted::Stopped).then_some(same),
        (VmCall::Update, Seen::Done { generation: told, .. }) if wanted == Wanted::Stopped => {
            // The spec it has already changes nothing.
            let after = VmState::Present { vm, generation: told, wanted };
            let next = Generation(generation.0 + 1);
            (told == generation || told == next).then_some(after)
        }
        (VmCall::Start, Seen::NoRoom) => (wanted == Wanted::Stopped).then_some(same),
        (VmCall::Start | VmCall::Stop | VmCall::Delete, Seen::Done { generation: told, .. }) => {
            let after = changed(vm, generation, wanted, op.call).unwrap_or(same);
            (generation_of(after) == told).then_some(after)
        }
        _ => None,
    }
}

/// The answers that show a deleted VM still there.
fn leaving(vm: Identity, generation: Generation, op: &VmOp, seen: Seen) -> Option<VmState> {
    let same = VmState::Leaving { vm, generation };
    if op.expected.is_some_and(|expected| expected != generation) {
        return (seen == Seen::Conflict(generation)).then_some(same);
    }
    match (op.call, seen) {
        (VmCall::Create | VmCall::Start | VmCall::Stop | VmCall::Update, Seen::Deleting) => Some(same),
        (VmCall::Delete, Seen::Done { generation: told, .. }) => (told == generation).then_some(same),
        (VmCall::Get, Seen::Vm { vm: id, generation: at, deleting: true, wanted: Wanted::Stopped }) => {
            let fits = vm.may_be(id) && at == generation;
            fits.then_some(VmState::Leaving { vm: Identity::Known(id), generation })
        }
        _ => None,
    }
}

fn generation_of(state: VmState) -> Generation {
    match state {
        VmState::Absent { .. } => Generation(0),
        VmState::Present { generation, .. } | VmState::Leaving { generation, .. } => generation,
    }
}

/// The newest VM that an answer has told of.
fn last_of(state: VmState) -> Option<VmId> {
    match state {
        VmState::Absent { last } => last,
        VmState::Present { vm, .. } | VmState::Leaving { vm, .. } => vm.last(),
    }
}

/// What a client's operation means for one VM name; none when it tells nothing: it is about no single VM, was refused
/// without effect, or was a look without an answer.
///
/// # Errors
/// When the answer is none that such a request can get.
pub fn from_operation(operation: &Operation) -> Result<Option<(VmName, Timed<VmOp>)>, String> {
    let (name, call, expected) = match &operation.request {
        Request::Write { write, .. } => match write {
            Write::CreateVm { name, .. } => (name, VmCall::Create, None),
            Write::StartVm { name, generation } => (name, VmCall::Start, *generation),
            Write::StopVm { name, generation } => (name, VmCall::Stop, *generation),
            Write::DeleteVm { name, generation, .. } => (name, VmCall::Delete, *generation),
            Write::UpdateVm { name, generation, .. } => (name, VmCall::Update, *generation),
            Write::CordonHost { .. } | Write::RemoveHost { .. } => return Ok(None),
        },
        Request::Read {
            read: Read::GetVm { name },
            consistency: blixard_node::request::Consistency::Linearizable,
        } => (name, VmCall::Get, None),
        Request::Read { .. } | Request::TransferLeader { .. } => return Ok(None),
    };
    let seen = match &operation.outcome {
        Outcome::Refused => return Ok(None),
        Outcome::Unknown if call == VmCall::Get => return Ok(None),
        Outcome::Unknown => None,
        Outcome::Answered(reply) => Some(seen_in(call, reply)?),
    };
    let returned = seen.map(|_| operation.ended.order);
    let op = VmOp { call, expected, seen };
    Ok(Some((name.clone(), Timed { op, invoked: operation.invoked.order, returned })))
}

fn seen_in(call: VmCall, reply: &Reply) -> Result<Seen, String> {
    Ok(match reply {
        Ok(Response::Written { revision, generation }) => {
            let vm = (call == VmCall::Create).then_some(VmId(revision.0));
            Seen::Done { vm, generation: *generation }
        }
        Ok(Response::Vm { vm, .. }) if call == VmCall::Get => seen_vm(vm),
        Err(RequestError::VmUnknown { .. }) => Seen::Unknown,
        Err(RequestError::VmExists { .. }) => Seen::Exists,
        Err(RequestError::VmDeleting { .. }) => Seen::Deleting,
        Err(RequestError::GenerationConflict { actual, .. }) => Seen::Conflict(*actual),
        Err(RequestError::NoRoom { .. }) => Seen::NoRoom,
        Err(RequestError::VmNotStopped { .. }) => Seen::NotStopped,
        Err(RequestError::BadSpec { .. } | RequestError::TooManyVms { .. }) => Seen::NotTaken,
        other => return Err(format!("{call:?} was answered {other:?}")),
    })
}

fn seen_vm(view: &VmView) -> Seen {
    Seen::Vm { vm: view.id, generation: view.generation, wanted: view.wanted, deleting: view.deleting }
}
