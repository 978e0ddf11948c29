//! Ends runs that take too long by the wall clock. Nobody can end a thread from outside, so a world looks from time to time whether its
//! run was given up. What it sees decides only whether the run goes on, so nothing of it is in any log.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blixard_node::time::Time;

/// A world looks once in so many events: often enough to end soon, and too seldom to be felt.
const EVERY: u64 = 4_096;

/// Tells a run that it is given up.
pub(crate) type GiveUp = Arc<AtomicBool>;

/// How far a run was that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// Its true time.
    pub(crate) at: Time,
    /// Its events.
    pub(crate) events: u64,
}

thread_local! {
    /// Some while this thread's run can be given up.
    static WATCHED: RefCell<Option<GiveUp>> = const { RefCell::new(None) };
}

/// Runs `work`, whose worlds end when `give_up` is set.
pub(crate) fn watched<T>(give_up: &GiveUp, work: impl FnOnce() -> T) -> Result<T, GivenUp> {
    let outer = WATCHED.replace(Some(Arc::clone(give_up)));
    let result = catch_unwind(AssertUnwindSafe(work));
    WATCHED.replace(outer);
    result.map_err(|thrown| match thrown.downcast::<GivenUp>() {
        Ok(given_up) => *given_up,
        Err(panic) => resume_unwind(panic),
    })
}

/// Ends the run if it was given up: nothing between here and [`watched`] goes on. A world calls this at each of its events.
pub(crate) fn look(at: Time, events: u64) {
    if events.is_multiple_of(EVERY) && is_given_up() {
        resume_unwind(Box::new(GivenUp { at, events }));
    }
}

/// Whether what was caught is no panic but a run's end.
pub(crate) fn is_end(thrown: &(dyn std::any::Any + Send)) -> bool {
    thrown.is::<GivenUp>()
}

fn is_given_up() -> bool {
    WATCHED.with_borrow(|watched| watched.as_ref().is_some_and(|give_up| give_up.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics;

    /// A world that goes round in circles.
    fn endless() -> GivenUp {
        (1..=u64::MAX).for_each(|events| look(Time(7), events));
        unreachable!("it has no end of its own")
    }

    #[test]
    fn a_run_ends_where_it_looks_once_it_is_given_up() {
        let give_up = GiveUp::default();
        let so_far = || (1..=3 * EVERY).for_each(|events| look(Time(7), events));
        assert_eq!(watched(&give_up, so_far), Ok(()), "nobody gave it up");
        give_up.store(true, Ordering::Relaxed);
        assert_eq!(watched(&give_up, endless), Err(GivenUp { at: Time(7), events: EVERY }));
        so_far();
    }

    #[test]
    fn an_end_is_no_panic_and_a_panic_is_no_end() {
        let give_up = GiveUp::new(AtomicBool::new(true));
        assert!(watched(&give_up, || panics::caught(endless)).is_err());
        let caught = panics::caught(|| watched(&give_up, || -> () { panic!("over the edge") }));
        assert_eq!(caught.unwrap_err().message, "over the edge");
    }
}
