//! Output that is read while it is written.

use std::io::Write as _;

use blixard_node::hypervisor::Run;
use tempfile::TempDir;

use super::*;
use crate::hypervisor::run_dir::{FORMAT, Plan, Record};
use crate::hypervisor::wire::{Ended, How};

const VM: VmId = VmId(12);

struct Host {
    state: StateDir,
    _folder: TempDir,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { state: StateDir::open(folder.path()).unwrap(), _folder: folder }
    }

    fn run(&self, epoch: u64, token: &str) -> Writer {
        let run = Run { vm: VM, epoch: Epoch(epoch) };
        let dir = self.state.attempt(run, token);
        let record = Record {
            format: FORMAT,
            run: run.into(),
            name: "web".into(),
            token: token.into(),
            boot: "b".into(),
            deadline: 0,
            plan: Plan::default(),
        };
        dir.create(&record).unwrap();
        Writer { file: File::create(dir.output()).unwrap(), dir }
    }

    fn tail(&self, from: &From) -> Tail {
        Tail::open(self.state.clone(), VM, Epoch(0), from).unwrap()
    }
}

/// Writes as a supervisor does.
struct Writer {
    dir: RunDir,
    file: File,
}

impl Writer {
    fn print(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn turn(&mut self) {
        fs::rename(self.dir.output(), self.dir.older_output()).unwrap();
        self.file = File::create(self.dir.output()).unwrap();
    }

    fn end(&self) {
        self.dir.write_end(&Ended::new(How::Crashed, "x")).unwrap();
    }
}

/// All that there is at the moment: data as it is, the rest in brackets.
fn all(tail: &mut Tail) -> String {
    let mut text = String::new();
    while let Some(piece) = tail.next().unwrap() {
        match piece {
            Piece::Data(data, _) => text += &String::from_utf8(data).unwrap(),
            Piece::NewRun => text += "[new run]",
            Piece::Gap => text += "[gap]",
        }
    }
    text
}

fn place(tail: &mut Tail) -> String {
    let mut last = String::new();
    while let Some(piece) = tail.next().unwrap() {
        if let Piece::Data(_, place) = piece {
            last = place;
        }
    }
    last
}

#[test]
fn both_files_are_read_in_order_and_what_comes_then() {
    let host = Host::new();
    let mut run = host.run(1, "aaaaaaaa");
    run.print("one\n");
    run.turn();
    run.print("two\n");
    let mut tail = host.tail(&From::Oldest);
    assert_eq!(all(&mut tail), "one\ntwo\n");
    assert_eq!(all(&mut tail), "");
    run.print("three");
    assert_eq!(all(&mut tail), "three");
}

#[test]
fn nothing_is_lost_when_a_file_is_turned_while_it_is_read() {
    let host = Host::new();
    let mut run = host.run(1, "aaaaaaaa");
    run.print("one ");
    let mut tail = host.tail(&From::Oldest);
    assert_eq!(all(&mut tail), "one ");
    run.print("two ");
    run.turn();
    run.print("three ");
    assert_eq!(all(&mut tail), "two three ");
    run.print("four ");
    run.turn();
    run.turn();
    run.print("five");
    assert_eq!(all(&mut tail), "four [gap]five", "it was overtaken, and says so");
}

#[test]
fn the_last_lines_are_counted_over_both_files() {
    let host = Host::new();
    let mut run = host.run(1, "aaaaaaaa");
    run.print("1\n2\n3\n");
    run.turn();
    run.print("4\n5\n");
    let last = |lines| all(&mut host.tail(&From::Lines(lines)));
    assert_eq!(last(0), "");
    assert_eq!(last(1), "5\n");
    assert_eq!(last(3), "3\n4\n5\n");
    assert_eq!(last(5), "1\n2\n3\n4\n5\n");
    assert_eq!(last(99), "1\n2\n3\n4\n5\n");
    run.print("6");
    assert_eq!(all(&mut host.tail(&From::Lines(2))), "5\n6", "a line without an end is one");
    run.turn();
    assert_eq!(all(&mut host.tail(&From::Lines(1))), "6", "an empty file has none");
}

#[test]
fn long_lines_are_counted_as_short_ones() {
    let host = Host::new();
    let mut run = host.run(1, "aaaaaaaa");
    let long = "x".repeat(3 * PIECE_LEN_MAX + 7) + "\n";
    run.print(&long);
    run.print(&long);
    run.print("end\n");
    assert_eq!(all(&mut host.tail(&From::Lines(2))), long.clone() + "end\n");
    assert_eq!(all(&mut host.tail(&From::Lines(3))), long.clone() + &long + "end\n");
    let mut tail = host.tail(&From::Oldest);
    while let Some(piece) = tail.next().unwrap() {
        assert!(matches!(piece, Piece::Data(data, _) if data.len() <= PIECE_LEN_MAX));
    }
}

#[test]
fn the_next_run_follows_the_last_words_of_the_one_before() {
    let host = Host::new();
    let mut first = host.run(1, "aaaaaaaa");
    first.print("one ");
    let mut tail = host.tail(&From::Lines(0));
    assert_eq!(all(&mut tail), "");
    first.print("last words ");
    first.end();
    fs::remove_dir_all(first.dir.path()).unwrap();
    let mut second = host.run(1, "bbbbbbbb");
    second.print("two");
    assert_eq!(all(&mut tail), "last words [new run]two");
    // The newest epoch counts, whatever stands in the folder besides.
    let mut third = host.run(3, "cccccccc");
    third.print("three");
    assert_eq!(all(&mut host.tail(&From::Oldest)), "three");
    assert_eq!(all(&mut tail), "", "the run before has not ended as far as is written down");
    second.end();
    assert_eq!(all(&mut tail), "[new run]three");
}

#[test]
fn a_reader_waits_for_a_first_run_and_leaves_earlier_epochs_out() {
    let host = Host::new();
    let mut tail = Tail::open(host.state.clone(), VM, Epoch(2), &From::Oldest).unwrap();
    assert!(!tail.has_run());
    host.run(1, "aaaaaaaa").print("old");
    assert_eq!(all(&mut tail), "");
    host.run(2, "bbbbbbbb").print("new");
    assert_eq!(all(&mut tail), "new");
    assert!(tail.has_run());
}

#[test]
fn a_place_is_found_again_also_in_a_turned_file() {
    let host = Host::new();
    let mut run = host.run(1, "aaaaaaaa");
    run.print("one ");
    let here = place(&mut host.tail(&From::Lines(0)));
    let again = |host: &Host| all(&mut host.tail(&From::Place(here.clone())));
    assert_eq!(again(&host), "");
    run.print("two ");
    run.turn();
    run.print("three");
    assert_eq!(again(&host), "two three");
    run.turn();
    run.turn();
    run.print("five");
    assert_eq!(again(&host), "five", "the place is gone: all that is kept");
    run.end();
    fs::remove_dir_all(run.dir.path()).unwrap();
    host.run(2, "bbbbbbbb").print("another run");
    assert_eq!(again(&host), "another run");
    for odd in ["", "x", "../1/2/3", "vm13.e1.aaaaaaaa/1/2/3", "vm12.e1.x/1/2"] {
        assert_eq!(all(&mut host.tail(&From::Place(odd.into()))), "another run", "{odd}");
    }
}
