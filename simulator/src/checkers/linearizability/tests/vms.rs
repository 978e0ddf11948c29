//! Histories of one VM name.

use blixard_node::ids::{Generation, VmId};
use blixard_node::spec::Wanted;

use super::super::vm::{Seen, VmCall, VmModel, VmOp};
use super::*;

fn op(call: VmCall, seen: Seen) -> VmOp {
    VmOp { call, expected: None, seen: Some(seen) }
}

fn done(generation: u64) -> Seen {
    Seen::Done { vm: None, generation: Generation(generation) }
}

fn created(vm: u64) -> VmOp {
    op(VmCall::Create, Seen::Done { vm: Some(VmId(vm)), generation: Generation(1) })
}

fn got(vm: u64, generation: u64, wanted: Wanted, deleting: bool) -> VmOp {
    op(VmCall::Get, Seen::Vm { vm: VmId(vm), generation: Generation(generation), wanted, deleting })
}

fn unanswered(call: VmCall) -> VmOp {
    VmOp { call, expected: None, seen: None }
}

/// One after the other; those without an answer stay open.
fn in_turn(ops: &[VmOp]) -> Verdict {
    let history = ops.iter().enumerate().map(|(number, op)| {
        let invoked = number as u64 * 2;
        Timed { op: *op, invoked, returned: op.seen.map(|_| invoked + 1) }
    });
    let history: Vec<_> = history.collect();
    check(&VmModel, &history, Limits::default())
}

fn passes(ops: &[VmOp]) {
    assert_eq!(in_turn(ops), Verdict::Linearizable);
}

/// The last of `ops` is the one that does not fit.
fn fails(ops: &[VmOp]) {
    let Verdict::Illegal(illegal) = in_turn(ops) else { panic!("{ops:?} passed") };
    assert_eq!(illegal.operation, ops.len() - 1, "{illegal:?}");
}

#[test]
fn a_life() {
    passes(&[
        op(VmCall::Get, Seen::Unknown),
        op(VmCall::Start, Seen::Unknown),
        created(5),
        op(VmCall::Create, Seen::Exists),
        got(5, 1, Wanted::Stopped, false),
        op(VmCall::Start, Seen::NoRoom),
        op(VmCall::Start, done(2)),
        op(VmCall::Start, done(2)),
        got(5, 2, Wanted::Running, false),
        op(VmCall::Stop, done(3)),
        op(VmCall::Stop, done(3)),
        op(VmCall::Delete, done(4)),
        got(5, 4, Wanted::Stopped, true),
        op(VmCall::Create, Seen::Deleting),
        op(VmCall::Start, Seen::Deleting),
        op(VmCall::Delete, done(4)),
        op(VmCall::Delete, Seen::Unknown),
        op(VmCall::Get, Seen::Unknown),
        op(VmCall::Create, Seen::NotTaken),
        created(9),
        got(9, 1, Wanted::Stopped, false),
    ]);
}

#[test]
fn a_deleted_vm_may_go_unseen_but_does_not_return() {
    passes(&[created(5), op(VmCall::Delete, done(2)), created(9)]);
    fails(&[
        created(5),
        op(VmCall::Delete, done(2)),
        op(VmCall::Get, Seen::Unknown),
        got(5, 2, Wanted::Stopped, true),
    ]);
    fails(&[created(5), op(VmCall::Delete, done(2)), got(5, 1, Wanted::Stopped, false)]);
    fails(&[created(5), op(VmCall::Delete, done(2)), created(9), got(5, 1, Wanted::Stopped, false)]);
}

#[test]
fn what_was_acknowledged_is_seen() {
    fails(&[created(5), op(VmCall::Get, Seen::Unknown)]);
    fails(&[created(5), created(9)]);
    fails(&[created(5), op(VmCall::Start, done(2)), got(5, 1, Wanted::Stopped, false)]);
    fails(&[created(5), op(VmCall::Start, done(2)), op(VmCall::Start, done(3))]);
    fails(&[created(5), op(VmCall::Stop, done(2))]);
    fails(&[created(5), op(VmCall::Start, done(2)), op(VmCall::Start, Seen::NoRoom)]);
    fails(&[op(VmCall::Create, Seen::Exists)]);
    fails(&[created(5), op(VmCall::Stop, Seen::Deleting)]);
}

#[test]
fn generations_are_compared() {
    let start =
        |expected, seen| VmOp { call: VmCall::Start, expected: Some(Generation(expected)), seen: Some(seen) };
    passes(&[created(5), start(1, done(2)), start(1, Seen::Conflict(Generation(2)))]);
    fails(&[created(5), start(2, done(2))]);
    fails(&[created(5), start(1, Seen::Conflict(Generation(1)))]);
    fails(&[created(5), start(3, Seen::Conflict(Generation(2)))]);
}

#[test]
fn what_has_no_answer_may_have_happened() {
    passes(&[unanswered(VmCall::Create), op(VmCall::Get, Seen::Unknown), got(7, 1, Wanted::Stopped, false)]);
    fails(&[unanswered(VmCall::Create), got(7, 1, Wanted::Stopped, false), op(VmCall::Get, Seen::Unknown)]);
    fails(&[
        unanswered(VmCall::Create),
        got(7, 1, Wanted::Stopped, false),
        got(8, 1, Wanted::Stopped, false),
    ]);
    passes(&[created(5), unanswered(VmCall::Start), unanswered(VmCall::Stop), op(VmCall::Delete, done(4))]);
    fails(&[created(5), unanswered(VmCall::Start), op(VmCall::Delete, done(4))]);
}

#[test]
fn only_a_stopped_vm_takes_another_spec() {
    let update = |seen| op(VmCall::Update, seen);
    passes(&[created(5), update(done(2)), update(done(2)), update(Seen::NotStopped), update(Seen::NotTaken)]);
    passes(&[created(5), op(VmCall::Start, done(2)), update(Seen::NotStopped), op(VmCall::Stop, done(3))]);
    fails(&[created(5), op(VmCall::Start, done(2)), update(done(3))]);
    fails(&[created(5), op(VmCall::Start, done(2)), update(Seen::NotTaken)]);
    fails(&[created(5), update(done(3))]);
}
