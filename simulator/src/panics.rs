//! Panics of node code under one seed are caught and told, not printed: they are a run's outcome.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caught {
    /// What it said.
    pub(crate) message: String,
    /// File and line.
    pub(crate) place: String,
}

thread_local! {
    /// Some while this thread catches: the newest panic.
    static CATCHING: RefCell<Option<Option<Caught>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `work`, and hands a panic in it over instead of printing it.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Caught> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let message = info.payload_as_str().unwrap_or("(no message)").to_owned();
            let place = info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
            let taken = CATCHING.with(|catching| match catching.borrow_mut().as_mut() {
                Some(slot) => {
                    *slot = Some(Caught { message, place });
                    true
                }
                None => false,
            });
            if !taken {
                before(info);
            }
        }));
    });
    // Whoever called this while catching itself goes on with that afterwards.
    let outer = CATCHING.replace(Some(None));
    let result = catch_unwind(AssertUnwindSafe(work));
    let panic = CATCHING.replace(outer).flatten();
    result.map_err(|thrown| {
        if crate::hang::is_end(&*thrown) {
            resume_unwind(thrown);
        }
        panic.unwrap_or(Caught { message: String::new(), place: String::new() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_handed_over_with_its_place() {
        let panic = caught(|| -> () { panic!("index {} is gone", 7) }).unwrap_err();
        assert_eq!(panic.message, "index 7 is gone");
        assert!(panic.place.contains("panics.rs:"));
        assert_eq!(caught(|| 3), Ok(3));
    }

    #[test]
    fn one_catch_within_another_leaves_it_at_work() {
        let outer = caught(|| -> () {
            assert_eq!(caught(|| -> () { panic!("inner") }).unwrap_err().message, "inner");
            panic!("outer")
        });
        assert_eq!(outer.unwrap_err().message, "outer");
    }
}
