//! The search against one that tries every order, on thousands of small random histories; and its speed on large ones.

use std::collections::BTreeMap;

use blixard_node::rng::Rng;

use super::*;

/// Whether some order of a subset with all operations that return explains the history. Tries them all.
fn explains<M: Model>(model: &M, history: &[Timed<M::Op>], done: u32, state: &M::State) -> bool {
    let open = |number: &usize| done >> number & 1 == 0;
    let left: Vec<usize> = (0..history.len()).filter(open).collect();
    if left.iter().all(|number| history[*number].returned.is_none()) {
        return true;
    }
    left.iter().any(|number| {
        let first = &history[*number];
        let overtaken =
            left.iter().any(|other| history[*other].returned.is_some_and(|at| at < first.invoked));
        !overtaken
            && model
                .step(state, &first.op)
                .is_some_and(|next| explains(model, history, done | 1 << number, &next))
    })
}

/// The first operation with whose return nothing explains the history so far. Of what is open at a return the answer is known, but nothing has to be
/// placed.
pub(super) fn first_unexplained<M: Model>(model: &M, history: &[Timed<M::Op>]) -> Option<usize>
where
    M::Op: Copy,
{
    let returns = history.iter().enumerate().filter_map(|(number, timed)| Some((timed.returned?, number)));
    let mut returns: Vec<(u64, usize)> = returns.collect();
    returns.sort_unstable();
    let explained = |last: &(u64, usize)| {
        let so_far = history.iter().enumerate().filter(|(_, timed)| timed.invoked <= last.0);
        let so_far = so_far.map(|(number, timed)| {
            let returned = timed.returned.filter(|at| (*at, number) <= *last);
            Timed { returned, ..*timed }
        });
        explains(model, &so_far.collect::<Vec<_>>(), 0, &model.initial())
    };
    returns.iter().find(|last| !explained(last)).map(|last| last.1)
}

/// The operation that the search names.
pub(super) fn illegal_operation(verdict: &Verdict) -> Option<usize> {
    match verdict {
        Verdict::Linearizable => None,
        Verdict::Illegal(illegal) => Some(illegal.operation),
        Verdict::Undecided { reason } => panic!("undecided: {reason}"),
    }
}

/// A history of a register whose operations take effect at random points, with an answer changed now and then.
fn random_history(rng: &mut Rng) -> Vec<Timed<RegisterOp>> {
    let mut moments: Vec<(u64, u64, Option<u64>)> = Vec::new();
    for _ in 0..rng.between(2, 7) {
        let invoked = rng.below(12);
        let point = invoked + rng.below(6);
        let returned = (!rng.ratio(1, 5)).then(|| point + rng.below(6));
        moments.push((point, invoked, returned));
    }
    moments.sort_unstable();
    let mut state = None;
    let mut history = Vec::new();
    for (_, invoked, returned) in moments {
        let op = match rng.below(3) {
            0 => Read(if rng.ratio(1, 8) { Some(1) } else { state }),
            1 => Write(rng.below(3) as u8),
            _ => {
                let (from, to) = (rng.below(3) as u8, rng.below(3) as u8);
                let works = if rng.ratio(1, 8) { rng.ratio(1, 2) } else { state == Some(from) };
                Swap(from, to, returned.is_some().then_some(works))
            }
        };
        let happens = returned.is_some() || rng.ratio(1, 2);
        if let (true, Some(next)) = (happens, Register.step(&state, &op)) {
            state = next;
        }
        if returned.is_some() || !matches!(op, Read(_)) {
            history.push(Timed { op, invoked, returned });
        }
    }
    rng.shuffle(&mut history);
    history
}

#[test]
fn agrees_with_trying_every_order() {
    let mut rng = Rng::new(7, 0);
    let mut counts = [0; 2];
    for round in 0..20_000 {
        let history = random_history(&mut rng);
        let expected = first_unexplained(&Register, &history);
        let found = verdict(&history);
        assert_eq!(illegal_operation(&found), expected, "round {round}: {history:?}: {found:?}");
        counts[usize::from(expected.is_none())] += 1;
    }
    assert!(counts.iter().all(|count| *count > 2_000), "both verdicts are tried: {counts:?}");
}

/// A string that only grows, and is replaced now and then; by its hash.
#[derive(Clone, Copy, Debug)]
struct Text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TextOp {
    Get(u64),
    Put(u64),
    Append(u64),
}

impl Model for Text {
    type State = u64;
    type Op = TextOp;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, op: &TextOp) -> Option<u64> {
        match *op {
            TextOp::Get(seen) => (seen == *state).then_some(*state),
            TextOp::Put(text) => Some(text),
            TextOp::Append(text) => Some(blixard_node::state::hash::hash_of(&(*state, text))),
        }
    }

    fn only_looks(&self, op: &TextOp) -> bool {
        matches!(op, TextOp::Get(_))
    }
}

/// `count` operations of `clients` clients on `keys` keys, in time. With `spoil`, one late get is answered wrongly.
fn large_history(
    seed: u64,
    clients: u64,
    count: u64,
    keys: u64,
    spoil: bool,
) -> BTreeMap<u64, Vec<Timed<TextOp>>> {
    let mut rng = Rng::new(seed, 1);
    let mut free_at = vec![0u64; clients as usize];
    let mut planned = Vec::new();
    for _ in 0..count {
        let client = rng.below(clients) as usize;
        let invoked = free_at[client] + rng.below(100);
        let point = invoked + 1 + rng.below(1_000);
        let returned = point + 1 + rng.below(1_000);
        free_at[client] = returned + 1;
        planned.push((point, invoked, returned));
    }
    planned.sort_unstable();
    let mut states = vec![0u64; keys as usize];
    let mut histories: BTreeMap<u64, Vec<Timed<TextOp>>> = BTreeMap::new();
    for (number, (_, invoked, returned)) in planned.into_iter().enumerate() {
        let key = rng.below(keys);
        let state = &mut states[key as usize];
        let op = match rng.below(3) {
            0 if spoil && number as u64 > count - count / 20 => TextOp::Get(1),
            0 => TextOp::Get(*state),
            1 => TextOp::Put(rng.below(50)),
            _ => TextOp::Append(rng.below(50)),
        };
        if !matches!(op, TextOp::Get(_)) {
            *state = Text.step(state, &op).expect("always taken");
        }
        histories.entry(key).or_default().push(Timed { op, invoked, returned: Some(returned) });
    }
    histories
}

#[test]
fn copes_with_fifty_clients_whose_writes_all_matter() {
    let operations = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    for (seed, spoil) in [(1, false), (2, false), (3, true)] {
        let histories = large_history(seed, 50, operations, 10, spoil);
        let slices = histories.iter().map(|(key, history)| (*key, history.as_slice()));
        let result = check_all(&Text, slices, Limits::default());
        assert_eq!(result.is_err(), spoil, "seed {seed}: {result:?}");
        assert!(!matches!(result, Err((_, Verdict::Undecided { .. }))), "seed {seed}");
    }
}
