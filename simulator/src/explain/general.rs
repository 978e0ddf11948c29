//! The account for properties that have no narrator of their own: what may have led to the violation, by the graph of what happened
//! before what, the weightiest and newest first.

use super::account::{Account, Weight};
use super::faults::{self, Strike};
use super::panics::{opening, role_words};
use super::story::{Story, num};
use super::{STEPS_MAX, graph, reads};
use crate::trace::file::Accusation;
use crate::trace::{Entry, Kind};

pub(super) fn tell(story: &Story<'_>, accused: &Accusation, account: &mut Account) {
    let end = story.end_of(accused.at);
    let from = beginnings(story, accused, end);
    let past = graph::past(&story.entries[..end], &from);
    let mut told = 0;
    for place in (0..end).rev().filter(|place| past[*place]) {
        let Some((weight, text)) = words(story, accused, place) else { continue };
        account.say(weight, place, text);
        told += 1;
        if told >= 3 * STEPS_MAX {
            break;
        }
    }
}

/// How an operation ended, and who answered.
fn end_words(story: &Story<'_>, ended: usize) -> String {
    let entry = &story.entries[ended];
    let (client, operation) = (num(entry, "client"), num(entry, "operation"));
    let of = |entry: &Entry| entry.kind == Kind::Asked && num(entry, "operation") == operation;
    let by = story
        .last(0..ended, of)
        .map_or_else(String::new, |asked| format!(" by n{}", num(&story.entries[asked], "to")));
    match (entry.text("answer").as_deref(), entry.text("outcome").as_deref()) {
        (_, Some("unknown")) => {
            format!("client {client} has no answer to it; whether it took effect is open")
        }
        // Only the subject knows what its answers say.
        (Some("none"), outcome) => {
            format!("client {client} is answered{by}: {}", outcome.unwrap_or_default())
        }
        (answer, _) => format!("client {client} is told{by} \"{}\"", answer.unwrap_or_default()),
    }
}

/// The lines that the violation is about: the newest of each node that it names, and of each operation; the very last when it names
/// nothing.
fn beginnings(story: &Story<'_>, accused: &Accusation, end: usize) -> Vec<usize> {
    let subjects = &accused.subjects;
    let hosts = subjects.nodes.iter().filter_map(|node| story.host_of(*node));
    let mut from: Vec<usize> =
        hosts.filter_map(|host| story.last(0..end, |entry| entry.host == host)).collect();
    let about = |entry: &Entry| match entry.kind {
        Kind::OperationBegan | Kind::OperationEnded => subjects.operations.contains(&num(entry, "operation")),
        Kind::Decided => subjects.index == Some(num(entry, "index")),
        Kind::RunStarted | Kind::RunEnded => subjects.vm == Some(num(entry, "vm")),
        _ => false,
    };
    from.extend(story.all(0..end, about));
    if from.is_empty() {
        from.extend(end.checked_sub(1));
        from.extend(story.last(0..end, |entry| entry.host > 0));
    }
    from
}

fn words(story: &Story<'_>, accused: &Accusation, place: usize) -> Option<(Weight, String)> {
    let entry = &story.entries[place];
    let node = story.node_at(place);
    let subjects = &accused.subjects;
    let same_vm = subjects.vm.is_some_and(|vm| vm == num(entry, "vm"));
    Some(match entry.kind {
        Kind::Fault => (Weight::Link, faults::words(story, &Strike { place, over: None })),
        Kind::Ended => (Weight::Link, faults::ending(story, place)),
        Kind::Found => (Weight::Link, opening(story, place)),
        Kind::Role if entry.is("role", "leader") => (Weight::Link, role_words(story, place)),
        Kind::RunStarted if same_vm => {
            let epoch = num(entry, "epoch");
            (Weight::Core, format!("{} comes alive on n{node} under e{epoch}", story.vm(num(entry, "vm"))))
        }
        Kind::RunEnded if same_vm => {
            (Weight::Core, format!("{} is dead on n{node}", story.vm(num(entry, "vm"))))
        }
        Kind::Decided if same_vm || subjects.index == Some(num(entry, "index")) => {
            let (index, what) = (num(entry, "index"), entry.text("what").unwrap_or_default());
            (Weight::Core, format!("entry {index} is carried out ({what}), first by n{node}"))
        }
        Kind::OperationEnded if subjects.operations.contains(&num(entry, "operation")) => {
            (Weight::Core, end_words(story, place))
        }
        Kind::OperationBegan if subjects.operations.contains(&num(entry, "operation")) => {
            (Weight::Core, reads::question(story, place))
        }
        Kind::Told if entry.is("what", "host-lost") => {
            (Weight::Link, format!("n{node} gives n{} up", num(entry, "detail")))
        }
        Kind::Told if entry.is("what", "lease-expired") => {
            (Weight::Colour, format!("the lease of n{node} runs out; it kills its VMs"))
        }
        Kind::Restored => {
            (Weight::Colour, format!("n{node} takes a snapshot at {} from the leader", num(entry, "index")))
        }
        Kind::Members => (Weight::Colour, format!("n{node} carries out a change of the members")),
        Kind::Subject => {
            let [a, b, c] = ["a", "b", "c"].map(|label| num(entry, label));
            let word = entry.text("word").unwrap_or_default();
            (Weight::Link, format!("n{node} tells: {word} {a} {b} {c}"))
        }
        _ => return None,
    })
}
