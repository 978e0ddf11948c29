//! What must hold: the spec's invariant after each event, and the clients' histories at the end.

use std::collections::BTreeMap;

use super::clients::Operation;
use super::world::World;
use super::{Broken, Spec};
use crate::checkers::linearizability::{Illegal, Limits, Timed, Verdict, check};
use crate::checkers::{Subjects, Violation};

/// The most configurations that the search for one object's linearization remembers.
const CONFIGURATIONS_MAX: usize = 1_000_000;

/// An object's operations with their numbers.
type History<'h, N> = Vec<(u64, &'h Operation<N>)>;

impl<S: Spec> World<'_, S> {
    pub(super) fn check_invariant(&mut self) {
        let ids = self.nodes.iter().copied();
        let nodes: Vec<_> = self
            .hosts
            .iter()
            .zip(ids)
            .filter_map(|(host, id)| Some((id, &host.process.as_ref()?.node)))
            .collect();
        if let Err(Broken { property, message }) = self.spec.invariant(&nodes) {
            self.fail(property, message);
        }
    }

    /// Checks what clients saw.
    ///
    /// # Errors
    /// Why it could not be decided.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        let mut objects: BTreeMap<u64, History<'_, S::Node>> = BTreeMap::new();
        for (operation, number) in self.clients.operations.iter().zip(1..) {
            if !operation.is_refused() {
                let object = self.spec.object(&operation.exchange.request);
                objects.entry(object).or_default().push((number, operation));
            }
        }
        let limits = Limits { configurations_max: CONFIGURATIONS_MAX };
        let mut undecided = None;
        let mut violation = None;
        for (object, history) in objects {
            let timed: Vec<_> = history
                .iter()
                .map(|(_, operation)| Timed {
                    op: operation.exchange.clone(),
                    invoked: operation.invoked,
                    returned: operation.returned,
                })
                .collect();
            match check(self.spec, &timed, limits) {
                Verdict::Linearizable => {}
                Verdict::Undecided { reason } => undecided = Some(format!("object {object}: {reason}")),
                Verdict::Illegal(illegal) => {
                    violation = Some(accuse(&history, &illegal));
                    break;
                }
            }
        }
        match (violation, undecided) {
            (Some(violation), _) => self.fail_with(violation),
            (None, Some(reason)) => return Err(reason),
            (None, None) => {}
        }
        Ok(())
    }
}

/// Which answer cannot be explained, and what it could have been explained by.
fn accuse<N: super::Node>(history: &[(u64, &Operation<N>)], illegal: &Illegal) -> Violation {
    let show = |place: &usize| {
        let (number, operation) = history[*place];
        let exchange = &operation.exchange;
        match &exchange.response {
            Some(response) => format!("operation {number}, {:?} answered {response:?}", exchange.request),
            None => format!("operation {number}, {:?} without an answer", exchange.request),
        }
    };
    let open: Vec<String> = illegal.open.iter().map(show).collect();
    let message = format!(
        "after {} operations, which can be explained, {} cannot; the object can be {}; under way are [{}]",
        illegal.passed,
        show(&illegal.operation),
        illegal.states.join(" or "),
        open.join("; ")
    );
    let (number, operation) = history[illegal.operation];
    // The accused first: an explanation begins with it.
    let operations = [number].into_iter().chain(illegal.open.iter().map(|place| history[*place].0)).collect();
    Violation {
        property: "linearizable",
        message,
        at: operation.ended_at,
        subjects: Subjects { operations, ..Subjects::default() },
    }
}
