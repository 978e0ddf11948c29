//! What clients asked and were told, and whether it can all be true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use blixard_node::ids::{Generation, Revision, VmId};
use blixard_node::request::{Request, Response, VmView, Write};
use blixard_node::spec::{VmName, Wanted};
use blixard_node::time::Time;
use blixard_sim::checkers::linearizability::vm::{VmModel, VmOp, from_operation};
use blixard_sim::checkers::linearizability::{Limits, Timed, check_all};
use blixard_sim::history::{Moment, Operation, Outcome, revision_of};

use super::processes::boot_time;

/// A record that all clients write to.
#[derive(Debug, Default)]
pub(crate) struct History {
    moments: AtomicU64,
    /// The highest revision that any client was told.
    told: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl History {
    /// The next moment. Moments are in the order of real time: they come from one counter that all clients share.
    fn moment(&self) -> Moment {
        let at = Time(u64::try_from(boot_time().as_nanos()).unwrap());
        Moment { at, order: self.moments.fetch_add(1, Ordering::SeqCst) + 1 }
    }

    /// A client is about to send.
    pub(crate) fn invoke(&self) -> (Moment, Revision) {
        let floor = Revision(self.told.load(Ordering::SeqCst));
        (self.moment(), floor)
    }

    /// A client has its answer, or gives up.
    pub(crate) fn end(
        &self,
        client: usize,
        request: Request,
        invoked: Moment,
        floor: Revision,
        attempts: u32,
        outcome: Outcome,
    ) {
        let ended = self.moment();
        if let Outcome::Answered(reply) = &outcome
            && let Some(revision) = revision_of(reply)
        {
            self.told.fetch_max(revision.0, Ordering::SeqCst);
        }
        let operation = Operation { client, request, invoked, ended, floor, attempts, outcome };
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Operations by how they ended.
    pub(crate) outcomes: BTreeMap<&'static str, usize>,
    /// Operations in the histories of VM names.
    pub(crate) linearized: usize,
    /// VMs shown in answers and compared with the state of the answer's revision.
    pub(crate) compared: usize,
    /// Attempts beyond the first.
    pub(crate) repeats: u32,
}

/// Judges a history.
///
/// # Errors
/// What cannot be true.
pub(crate) fn judge(operations: &[Operation]) -> Result<Judged, String> {
    let mut judged = Judged::default();
    for operation in operations {
        *judged.outcomes.entry(operation.outcome.name()).or_default() += 1;
        judged.repeats += operation.attempts - 1;
        real_time(operation)?;
    }
    judged.linearized = linearizable(operations)?;
    judged.compared = answers_match_revisions(operations)?;
    Ok(judged)
}

/// What is asked after an answer sees that answer's revision or a later one. Writes excepted: a repeated one is
/// answered with its first answer, but then its first attempt came before.
fn real_time(operation: &Operation) -> Result<(), String> {
    let Outcome::Answered(reply) = &operation.outcome else { return Ok(()) };
    match revision_of(reply) {
        Some(revision) if revision < operation.floor => Err(format!(
            "answered as of {revision} although {} had been told: {operation:?}",
            operation.floor
        )),
        _ => Ok(()),
    }
}

fn linearizable(operations: &[Operation]) -> Result<usize, String> {
    let mut histories: BTreeMap<VmName, Vec<Timed<VmOp>>> = BTreeMap::new();
    for operation in operations {
        if let Some((name, timed)) = from_operation(operation)? {
            histories.entry(name).or_default().push(timed);
        }
    }
    let slices = histories.iter().map(|(name, history)| (name, history.as_slice()));
    check_all(&VmModel, slices, Limits::default())
        .map_err(|(name, verdict)| format!("{name}: {verdict:?} in {:#?}", histories[name]))?;
    Ok(histories.values().map(Vec::len).sum())
}

/// A VM after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    id: VmId,
    generation: Generation,
    wanted: Wanted,
    deleting: bool,
}

/// Each VM as of each revision at which a write of it took effect.
type Timeline = BTreeMap<VmName, BTreeMap<Revision, Facts>>;

/// Every answer that shows VMs shows them as they were at the answer's revision: neither an older state nor a newer
/// one. Told by the writes that were acknowledged; names with writes of unknown outcome are left out.
fn answers_match_revisions(operations: &[Operation]) -> Result<usize, String> {
    let (timeline, unsure) = timeline(operations)?;
    let mut compared = 0;
    for operation in operations {
        let Outcome::Answered(Ok(response)) = &operation.outcome else { continue };
        let (revision, shown, all) = match response {
            Response::Vm { revision, vm } => (*revision, std::slice::from_ref(&**vm), false),
            Response::Vms { revision, vms } => (*revision, vms.as_slice(), true),
            _ => continue,
        };
        let shown: BTreeMap<&VmName, Facts> = shown.iter().map(|vm| (&vm.name, facts(vm))).collect();
        for (name, facts) in shown.iter().filter(|(name, _)| !unsure.contains(**name)) {
            compared += 1;
            let is = at(&timeline, name, revision);
            if is != Some(*facts) {
                return Err(format!(
                    "{name} was shown as of {revision} as {facts:?}, it was {is:?}: {operation:?}"
                ));
            }
        }
        for name in timeline.keys().filter(|name| all && !unsure.contains(*name) && !shown.contains_key(name))
        {
            // A deleted VM goes when its host says so, at a revision that no client is told.
            if at(&timeline, name, revision).is_some_and(|facts| !facts.deleting) {
                return Err(format!("{name} is missing in a list as of {revision}: {operation:?}"));
            }
        }
    }
    Ok(compared)
}

fn at(timeline: &Timeline, name: &VmName, revision: Revision) -> Option<Facts> {
    timeline.get(name)?.range(..=revision).next_back().map(|(_, facts)| *facts)
}

fn facts(vm: &VmView) -> Facts {
    Facts { id: vm.id, generation: vm.generation, wanted: vm.wanted, deleting: vm.deleting }
}

/// The acknowledged writes, and the names of which not all is known.
fn timeline(operations: &[Operation]) -> Result<(Timeline, BTreeSet<VmName>), String> {
    let mut writes = BTreeMap::new();
    let mut unsure = BTreeSet::new();
    for operation in operations {
        let Request::Write { write, .. } = &operation.request else { continue };
        let Some(name) = name_of(write) else { continue };
        match &operation.outcome {
            Outcome::Answered(Ok(Response::Written { revision, generation })) => {
                let other = writes.insert(*revision, (name.clone(), write, *generation));
                if let Some(other) = other {
                    return Err(format!("two writes at {revision}: {other:?} and {write:?}"));
                }
            }
            Outcome::Unknown => {
                unsure.insert(name.clone());
            }
            _ => {}
        }
    }
    let mut timeline = Timeline::new();
    for (revision, (name, write, generation)) in writes {
        let states = timeline.entry(name).or_default();
        let before = states.last_key_value().map(|(_, facts)| *facts);
        let id = before.map_or(VmId(revision.0), |facts| facts.id);
        let after = match write {
            Write::CreateVm { .. } => {
                let id = VmId(revision.0);
                Facts { id, generation, wanted: Wanted::Stopped, deleting: false }
            }
            Write::StartVm { .. } => Facts { id, generation, wanted: Wanted::Running, deleting: false },
            Write::StopVm { .. } => Facts { id, generation, wanted: Wanted::Stopped, deleting: false },
            _ => Facts { id, generation, wanted: Wanted::Stopped, deleting: true },
        };
        states.insert(revision, after);
    }
    Ok((timeline, unsure))
}

fn name_of(write: &Write) -> Option<&VmName> {
    match write {
        Write::CreateVm { name, .. }
        | Write::StartVm { name, .. }
        | Write::StopVm { name, .. }
        | Write::DeleteVm { name, .. } => Some(name),
        Write::UpdateVm { .. } | Write::CordonHost { .. } | Write::RemoveHost { .. } => None,
    }
}

/// The judge must be able to condemn.
mod condemned {
    use std::sync::Arc;

    use blixard_node::error::RequestError;
    use blixard_node::ids::{ClientId, Epoch, NodeId, RequestId};
    use blixard_node::request::Reply;
    use blixard_node::spec::{Phase, VmSpec};
    use blixard_node::time::WallMs;

    use super::super::client::{get, list, spec};
    use super::*;

    fn name() -> VmName {
        VmName::new("web").unwrap()
    }

    fn shown(generation: u64) -> VmView {
        let spec: Arc<VmSpec> = Arc::new(spec("x"));
        VmView {
            id: VmId(10),
            name: name(),
            spec,
            generation: Generation(generation),
            wanted: Wanted::Stopped,
            deleting: false,
            assigned: Some((NodeId(1), Epoch(1))),
            phase: Phase::Stopped,
            reason: String::new(),
            since: WallMs(0),
            restarts: 0,
            observed_generation: Generation(generation),
            artifact: None,
            last_host: None,
        }
    }

    /// A history: a VM created at revision 10, then what `ask` asks and is answered.
    fn history(ask: &[(Request, Reply)]) -> Vec<Operation> {
        let id = RequestId { client: ClientId(1), sequence: 1, born: Revision(0) };
        let create = Write::CreateVm { name: name(), spec: Arc::new(spec("x")) };
        let written = Response::Written { revision: Revision(10), generation: Generation(1) };
        let history = History::default();
        let create = (Request::Write { id, write: create }, Ok(written));
        for (request, reply) in [create].into_iter().chain(ask.iter().cloned()) {
            let (invoked, floor) = history.invoke();
            history.end(0, request, invoked, floor, 1, Outcome::Answered(reply));
        }
        history.operations()
    }

    #[test]
    fn what_cannot_be_true_is_found() {
        let revision = |revision| Revision(revision);
        let seen = |at, generation| Response::Vm { revision: revision(at), vm: Box::new(shown(generation)) };
        let good = history(&[
            (get(name()), Ok(seen(10, 1))),
            (list(), Ok(Response::Vms { revision: revision(12), vms: vec![shown(1)] })),
        ]);
        let judged = judge(&good).unwrap();
        assert_eq!((judged.linearized, judged.compared), (2, 2));

        let gone = Err(RequestError::VmUnknown { name: name() });
        let wrong = [
            ("is lost", (get(name()), gone)),
            ("is another one", (get(name()), Ok(seen(10, 2)))),
            ("is old", (list(), Ok(Response::Vms { revision: revision(9), vms: vec![] }))),
            ("is missing", (list(), Ok(Response::Vms { revision: revision(12), vms: vec![] }))),
            (
                "is from the future",
                (list(), Ok(Response::Vms { revision: revision(12), vms: vec![shown(2)] })),
            ),
        ];
        for (what, ask) in wrong {
            assert!(judge(&history(&[ask])).is_err(), "a VM that {what} is not found");
        }
    }
}
