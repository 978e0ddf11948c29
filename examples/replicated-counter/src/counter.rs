//! The node. For each node there is a count that it alone raises; all keep copies of all counts, and the total is their sum. A count is raised
//! once a majority has it durably. Who reads asks a majority, takes the highest of each count, and has a majority keep those before it
//! answers (Attiya, Bar-Noy and Dolev, "Sharing Memory Robustly in Message-Passing Systems", 1995), so that no later read sees less.

use std::collections::{BTreeMap, BTreeSet};

use blixard_sim::kit::{Context, Duration, Node, NodeId, Ticket};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Nothing.
    None,
    /// It answers when it has counted itself, whoever else has.
    AnswersAlone,
    /// It tells others what its own disk may still lose.
    SendsUnsynced,
}

/// What each node has counted, in the order of their ids.
type Counts = Vec<u64>;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// One more.
    Increment,
    /// How many?
    Read,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// One more was counted.
    Done,
    /// So many.
    Total(u64),
}

/// What nodes send each other, with the number of the round it belongs to.
#[derive(Clone, Debug)]
pub enum Message {
    /// What have you got?
    Look(u64),
    /// That.
    Seen(u64, Counts),
    /// Keep at least this.
    Keep(u64, Counts),
    /// It is kept.
    Kept(u64),
}

/// A question to all nodes that ends when a majority has answered.
#[derive(Debug)]
struct Round {
    ticket: Ticket,
    response: Option<Response>,
    counts: Counts,
    answered: BTreeSet<NodeId>,
    tries: u32,
}

/// One node.
#[derive(Debug)]
pub struct Counter {
    bug: Bug,
    counts: Counts,
    rounds: BTreeMap<u64, Round>,
}

const RETRY: Duration = Duration::from_millis(50);
const TRIES: u32 = 20;

impl Node for Counter {
    type Settings = Bug;
    type Message = Message;
    type Request = Request;
    type Response = Response;
    type Stored = Counts;

    fn start(bug: &Bug, cx: &mut Context<'_, Self>) -> Self {
        let mut counts = cx.disk().clone();
        counts.resize(cx.nodes().len(), 0);
        cx.set_timer(0, RETRY);
        Self { bug: *bug, counts, rounds: BTreeMap::new() }
    }

    fn on_request(&mut self, ticket: Ticket, request: Request, cx: &mut Context<'_, Self>) {
        let number = cx.rng().u64();
        let response = match request {
            Request::Read => None,
            Request::Increment => {
                self.counts[cx.me().0 as usize - 1] += 1;
                cx.write(self.counts.clone());
                Some(Response::Done)
            }
        };
        if self.bug == Bug::AnswersAlone && request == Request::Increment {
            cx.synced().reply(ticket, Response::Done);
        }
        let (counts, answered) = (self.counts.clone(), BTreeSet::new());
        let round = Round { ticket, response, counts, answered, tries: TRIES };
        match self.bug {
            Bug::SendsUnsynced => cx.broadcast(&round.question(number)),
            _ => cx.synced().broadcast(&round.question(number)),
        }
        self.rounds.insert(number, round);
    }

    fn on_message(&mut self, from: NodeId, message: Message, cx: &mut Context<'_, Self>) {
        match message {
            Message::Look(number) => cx.synced().send(from, Message::Seen(number, self.counts.clone())),
            Message::Keep(number, counts) => {
                if raise(&mut self.counts, &counts) {
                    cx.write(self.counts.clone());
                }
                cx.synced().send(from, Message::Kept(number));
            }
            Message::Seen(number, counts) => {
                let looks = |round: &&mut Round| round.response.is_none();
                let Some(round) = self.rounds.get_mut(&number).filter(looks) else { return };
                raise(&mut round.counts, &counts);
                round.answered.insert(from);
                if round.answered.len() >= cx.majority() {
                    round.response = Some(Response::Total(round.counts.iter().sum()));
                    round.answered.clear();
                    cx.broadcast(&round.question(number));
                }
            }
            Message::Kept(number) => {
                let Some(round) = self.rounds.get_mut(&number) else { return };
                round.answered.insert(from);
                if round.answered.len() >= cx.majority()
                    && let Some(Round { ticket, response: Some(response), .. }) = self.rounds.remove(&number)
                {
                    cx.reply(ticket, response);
                }
            }
        }
    }

    /// Messages get lost: whoever has not answered is asked again.
    fn on_timer(&mut self, timer: u64, cx: &mut Context<'_, Self>) {
        cx.set_timer(timer, RETRY);
        self.rounds.retain(|_, round| round.tries > 0);
        for (number, round) in &mut self.rounds {
            round.tries -= 1;
            for to in cx.nodes().to_vec() {
                if !round.answered.contains(&to) {
                    cx.synced().send(to, round.question(*number));
                }
            }
        }
    }
}

impl Round {
    fn question(&self, number: u64) -> Message {
        match self.response {
            None => Message::Look(number),
            Some(_) => Message::Keep(number, self.counts.clone()),
        }
    }
}

/// Takes over what is higher. Whether anything was.
fn raise(counts: &mut Counts, others: &Counts) -> bool {
    let before = counts.clone();
    counts.iter_mut().zip(others).for_each(|(count, other)| *count = (*count).max(*other));
    *counts != before
}
