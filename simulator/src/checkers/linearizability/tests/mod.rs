//! Histories with known verdicts, the search against a naive one, and its speed.

mod files;
mod large;
mod naive;
mod vms;

use super::*;

/// A register that is empty at first.
#[derive(Clone, Copy, Debug)]
struct Register;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum RegisterOp {
    Read(Option<u8>),
    Write(u8),
    /// Compares with the first, then writes the second. Whether it did is not known without an answer.
    Swap(u8, u8, Option<bool>),
}

impl Model for Register {
    type State = Option<u8>;
    type Op = RegisterOp;

    fn initial(&self) -> Option<u8> {
        None
    }

    fn step(&self, state: &Option<u8>, op: &RegisterOp) -> Option<Option<u8>> {
        match *op {
            RegisterOp::Read(value) => (value == *state).then_some(*state),
            RegisterOp::Write(value) => Some(Some(value)),
            RegisterOp::Swap(from, to, Some(true) | None) if *state == Some(from) => Some(Some(to)),
            RegisterOp::Swap(_, _, done) => (done != Some(true) && op_differs(*state, op)).then_some(*state),
        }
    }

    fn only_looks(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Read(_) | RegisterOp::Swap(_, _, Some(false)))
    }

    fn forgets(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Write(_))
    }
}

fn op_differs(state: Option<u8>, op: &RegisterOp) -> bool {
    !matches!(op, RegisterOp::Swap(from, ..) if state == Some(*from))
}

fn timed(op: RegisterOp, invoked: u64, returned: u64) -> Timed<RegisterOp> {
    Timed { op, invoked, returned: Some(returned) }
}

fn endless(op: RegisterOp, invoked: u64) -> Timed<RegisterOp> {
    Timed { op, invoked, returned: None }
}

fn verdict(history: &[Timed<RegisterOp>]) -> Verdict {
    check(&Register, history, Limits::default())
}

use RegisterOp::{Read, Swap, Write};

#[test]
fn nothing_is_linearizable() {
    assert_eq!(verdict(&[]), Verdict::Linearizable);
}

#[test]
fn a_read_sees_the_write_before_it() {
    assert_eq!(verdict(&[timed(Write(1), 1, 2), timed(Read(Some(1)), 3, 4)]), Verdict::Linearizable);
    let Verdict::Illegal(illegal) = verdict(&[timed(Write(1), 1, 2), timed(Read(None), 3, 4)]) else {
        panic!("a stale read passed")
    };
    assert_eq!(illegal, Illegal { operation: 1, passed: 1, open: vec![], states: vec!["Some(1)".into()] });
}

#[test]
fn a_read_may_see_a_write_that_is_under_way_and_then_all_must() {
    let seen = [timed(Write(1), 1, 9), timed(Read(Some(1)), 2, 3), timed(Read(Some(1)), 4, 5)];
    assert_eq!(verdict(&seen), Verdict::Linearizable);
    let unseen = [timed(Write(1), 1, 9), timed(Read(None), 2, 3), timed(Read(Some(1)), 4, 5)];
    assert_eq!(verdict(&unseen), Verdict::Linearizable);
    let lost = [timed(Write(1), 1, 9), timed(Read(Some(1)), 2, 3), timed(Read(None), 4, 5)];
    let Verdict::Illegal(illegal) = verdict(&lost) else { panic!("a value came and went") };
    assert_eq!((illegal.operation, illegal.passed, illegal.open), (2, 1, vec![0]));
}

#[test]
fn a_write_without_an_answer_may_take_effect_late_or_never() {
    let late = [endless(Write(1), 1), timed(Read(None), 2, 3), timed(Read(Some(1)), 4, 5)];
    assert_eq!(verdict(&late), Verdict::Linearizable);
    let never = [endless(Write(1), 1), timed(Read(None), 2, 3), timed(Read(None), 4, 5)];
    assert_eq!(verdict(&never), Verdict::Linearizable);
    let twice = [
        endless(Write(1), 1),
        timed(Write(2), 2, 3),
        timed(Read(Some(1)), 4, 5),
        timed(Write(2), 6, 7),
        timed(Read(Some(1)), 8, 9),
    ];
    assert!(matches!(verdict(&twice), Verdict::Illegal(_)), "it takes effect once at most");
    let before = [timed(Read(Some(1)), 1, 2), endless(Write(1), 3)];
    assert!(matches!(verdict(&before), Verdict::Illegal(_)), "not before it was asked");
}

#[test]
fn equal_instants_are_concurrent() {
    assert_eq!(verdict(&[timed(Write(1), 1, 2), timed(Read(None), 2, 3)]), Verdict::Linearizable);
}

#[test]
fn many_writes_without_answers_do_not_explode() {
    // Each may or may not have happened: 2^20 subsets, but alike ones are interchangeable and the rest is
    // placed only where a read needs it.
    let mut history: Vec<_> = (0..20).map(|number| endless(Write(number % 4), u64::from(number))).collect();
    for number in 0..40u64 {
        let value = (number % 4) as u8;
        history.push(timed(Read(Some(value)), 100 + number * 2, 101 + number * 2));
    }
    let Verdict::Illegal(illegal) = verdict(&history) else { panic!("five writes of each value, ten reads") };
    assert_eq!(illegal.passed, 20);
}

#[test]
fn the_search_gives_up_in_the_open() {
    let mut history: Vec<_> = (0..20).map(|number| timed(Write(number), 1, 100)).collect();
    history.push(timed(Read(Some(99)), 1, 101));
    let limits = Limits { configurations_max: 1_000 };
    let Verdict::Undecided { reason } = check(&Register, &history, limits) else { panic!("decided") };
    assert_eq!(reason, "more than 1000 configurations had to be remembered");
    let crowd: Vec<_> = (0..2_000).map(|number| timed(Write((number % 251) as u8), number, 9_999)).collect();
    let Verdict::Undecided { reason } = verdict(&crowd) else { panic!("decided") };
    assert_eq!(reason, "2000 operations on one object are open at once, at most 1024 are checked");
}

#[test]
fn the_first_illegal_object_is_told_and_an_undecided_one_only_without_any() {
    let good = [timed(Write(1), 1, 2)];
    let bad = [timed(Read(Some(1)), 1, 2)];
    let mut hard: Vec<_> = (0..12).map(|number| timed(Write(number), 1, 100)).collect();
    hard.push(timed(Read(Some(99)), 1, 101));
    let limits = Limits { configurations_max: 10 };
    let all = |histories: &[(u8, &'static [Timed<RegisterOp>])]| {
        check_all(&Register, histories.iter().copied(), limits)
    };
    let (good, bad): (&'static [_], &'static [_]) = (good.to_vec().leak(), bad.to_vec().leak());
    let hard: &'static [_] = hard.leak();
    assert_eq!(all(&[(1, good), (2, good)]), Ok(()));
    assert!(matches!(all(&[(1, good), (2, hard), (3, bad)]), Err((3, Verdict::Illegal(_)))));
    assert!(matches!(all(&[(1, hard), (2, good)]), Err((1, Verdict::Undecided { .. }))));
}
