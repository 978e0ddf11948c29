//! The links between hosts: delay, loss, duplication, reordering, cuts.

use blixard_node::ids::NodeId;
use blixard_node::message::Message;
use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use crate::scenario::Network;

/// A process's end of the network: what it has sent waits here for the world, and it knows whom it can reach.
#[derive(Debug, Default)]
pub struct SimNetwork {
    outbox: Vec<(NodeId, Message)>,
    directory: Vec<bool>,
}

impl SimNetwork {
    /// An end that can reach `peers`.
    #[must_use]
    pub fn new(peers: impl IntoIterator<Item = NodeId>) -> Self {
        let mut network = Self::default();
        for peer in peers {
            network.learn(peer);
        }
        network
    }

    /// `peer` can be reached: it has an address, or a connection from it stands.
    pub fn learn(&mut self, peer: NodeId) {
        let place = peer.0 as usize;
        if self.directory.len() <= place {
            self.directory.resize(place + 1, false);
        }
        self.directory[place] = true;
    }

    /// Whether `peer` can be reached.
    #[must_use]
    pub fn reaches(&self, peer: NodeId) -> bool {
        self.directory.get(peer.0 as usize).copied().unwrap_or(false)
    }

    /// What was sent since the last call.
    pub fn take(&mut self) -> Vec<(NodeId, Message)> {
        std::mem::take(&mut self.outbox)
    }

    /// Gives the emptied vector of [`Self::take`] back, so that its memory is used again.
    pub fn give_back(&mut self, outbox: Vec<(NodeId, Message)>) {
        if self.outbox.is_empty() {
            self.outbox = outbox;
        }
    }
}

impl blixard_runtime::Network for SimNetwork {
    fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.push((to, message));
    }

    fn directory(&mut self, members: Vec<(NodeId, String)>) {
        for (member, _) in members {
            self.learn(member);
        }
    }
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is lost by chance.
    Lost,
    /// The link is cut.
    Cut,
    /// It arrives after this long.
    Arrives(Duration),
    /// It arrives twice.
    Twice(Duration, Duration),
}

/// All links. Hosts are counted from 0.
#[derive(Debug)]
pub struct Links {
    hosts: usize,
    config: Network,
    /// What each link draws from, by `from × hosts + to`, so that traffic on one leaves the others alone.
    rngs: Vec<Rng>,
    /// What the ways between clients and each host draw from.
    client_rngs: Vec<Rng>,
    /// How many faults cut each link at present, by `from × hosts + to`.
    cuts: Vec<u8>,
    /// How much slower each host's links are at present.
    slow: Vec<Duration>,
    /// How late what is sent on each link comes at present, by `from × hosts + to`.
    late: Vec<Duration>,
}

impl Links {
    /// Links without cuts. `rng` gives the stream of each number below `hosts × (hosts + 1)`.
    #[must_use]
    pub fn new(hosts: usize, config: Network, rng: impl Fn(u64) -> Rng) -> Self {
        let links = hosts * hosts;
        Self {
            hosts,
            config,
            rngs: (0..links).map(|link| rng(link as u64)).collect(),
            client_rngs: (links..links + hosts).map(|way| rng(way as u64)).collect(),
            cuts: vec![0; links],
            slow: vec![Duration::ZERO; hosts],
            late: vec![Duration::ZERO; links],
        }
    }

    /// Draws what becomes of a message.
    pub fn draw(&mut self, from: usize, to: usize) -> Fate {
        let link = from * self.hosts + to;
        if self.cuts[link] > 0 {
            return Fate::Cut;
        }
        if self.late[link] > Duration::ZERO {
            return Fate::Arrives(self.config.latency.min + self.late[link]);
        }
        if self.config.loss.draw(&mut self.rngs[link]) {
            return Fate::Lost;
        }
        let first = self.delay(from, to);
        if self.config.duplication.draw(&mut self.rngs[link]) {
            Fate::Twice(first, self.delay(from, to))
        } else {
            Fate::Arrives(first)
        }
    }

    /// Draws the delay between a client and a host; none when the message is lost.
    pub fn draw_client(&mut self, host: usize) -> Option<Duration> {
        let rng = &mut self.client_rngs[host];
        if self.config.loss.draw(rng) { None } else { Some(self.config.latency.draw(rng)) }
    }

    /// Whether this message travels as bytes.
    pub fn encodes(&mut self, from: usize, to: usize) -> bool {
        self.config.encode.draw(&mut self.rngs[from * self.hosts + to])
    }

    /// Cuts the way from one host to another, on behalf of one fault.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from * self.hosts + to] += 1;
    }

    /// Takes one fault's cut back.
    pub fn mend(&mut self, from: usize, to: usize) {
        let cuts = &mut self.cuts[from * self.hosts + to];
        assert!(*cuts > 0, "the link from {from} to {to} is not cut");
        *cuts -= 1;
    }

    /// Whether a way is cut.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.hosts + to] > 0
    }

    /// Makes a host's links slower.
    pub fn set_slow(&mut self, host: usize, by: Duration) {
        self.slow[host] = by;
    }

    /// Makes what is sent on a link arrive late by one span: in order, and unlost.
    pub fn delay_by(&mut self, from: usize, to: usize, by: Duration) {
        let late = &mut self.late[from * self.hosts + to];
        *late = *late + by;
    }

    /// Takes one such delay back.
    pub fn hasten_by(&mut self, from: usize, to: usize, by: Duration) {
        let late = &mut self.late[from * self.hosts + to];
        *late = Duration(late.0.saturating_sub(by.0));
    }

    /// No loss, duplication or reordering any more.
    pub fn heal(&mut self) {
        self.config.loss = crate::scenario::Chance::NEVER;
        self.config.duplication = crate::scenario::Chance::NEVER;
        self.config.reordering = crate::scenario::Chance::NEVER;
        self.slow.fill(Duration::ZERO);
    }

    fn delay(&mut self, from: usize, to: usize) -> Duration {
        let rng = &mut self.rngs[from * self.hosts + to];
        let mut delay = self.config.latency.draw(rng) + self.slow[from] + self.slow[to];
        if self.config.reordering.draw(rng) {
            delay = delay + self.config.reordering_delay.draw(rng);
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Chance, Spread};

    #[test]
    fn what_lags_comes_late_in_order_and_unlost_on_that_way_alone() {
        let latency = Spread::millis(1, 50);
        let (loss, reordering) = (Chance::one_in(2), Chance::one_in(2));
        let config = Network { latency, loss, reordering, ..Network::default() };
        let mut links = Links::new(2, config, |link| Rng::new(7, link));
        let (one, other) = (Duration::from_millis(300), Duration::from_millis(200));
        links.delay_by(0, 1, one);
        links.delay_by(0, 1, other);
        assert!((0..100).all(|_| links.draw(0, 1) == Fate::Arrives(Duration::from_millis(501))));
        assert!((0..100).any(|_| links.draw(1, 0) == Fate::Lost));
        links.hasten_by(0, 1, one);
        assert_eq!(links.draw(0, 1), Fate::Arrives(Duration::from_millis(201)));
        links.cut(0, 1);
        assert_eq!(links.draw(0, 1), Fate::Cut);
        links.mend(0, 1);
        links.hasten_by(0, 1, other);
        assert!((0..100).any(|_| links.draw(0, 1) == Fate::Lost));
    }
}
