//! Nobody reads what is printed: nothing panics, and what else was asked for is done.

use crate::{Place, Ran, read};

/// What came of it when both pipes are closed before anything is printed.
fn unread(place: &Place, arguments: &str) -> Option<i32> {
    let mut child = place.command(arguments).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code()
}

#[test]
fn a_closed_pipe_changes_nothing_but_that_it_is_not_printed() {
    let place = Place::new();
    for arguments in [
        "--seed 1 --scenario short.toml",
        "--seed 1 --scenario short.toml --json",
        "--seed 1 --scenario short.toml --verbose --trace run.trace",
        "explain run.trace",
        "diff run.trace run.trace",
        "sweep --scenario short.toml --seeds 0..2",
        "history",
    ] {
        assert_eq!(unread(&place, arguments), Some(0), "{arguments}");
    }
    assert!(read(&place.path("run.trace")).lines().count() > 100, "the trace was written all the same");
    assert_eq!(unread(&place, "--seed 1 --scenario nowhere.toml"), Some(2));
}

#[test]
fn what_cannot_be_printed_for_another_reason_is_said() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else { return println!("skipped: there is no /dev/full") };
    let place = Place::new();
    let output = place.command("--seed 1 --scenario short.toml").stdout(full).output().unwrap();
    let ran = Ran::of(&output);
    assert!(ran.err.contains("error: cannot print: "), "{}", ran.err);
}
