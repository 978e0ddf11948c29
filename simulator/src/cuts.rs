//! Which links a cut takes, and between whom.

use std::collections::BTreeMap;

use blixard_node::rng::Rng;

use crate::scenario::{Fault, FaultKind};

/// Hosts in the order of a cut.
#[derive(Debug)]
pub(crate) struct Cut {
    hosts: Vec<usize>,
    /// How many of them stand on its first side.
    first: usize,
    kind: FaultKind,
}

impl Cut {
    /// Draws who of `hosts` stands where unless `fault` says so, and notes it there; none when there is nothing to cut.
    pub(crate) fn draw(
        fault: &mut Fault,
        mut hosts: Vec<usize>,
        leader: Option<usize>,
        whom: &mut Rng,
    ) -> Option<Self> {
        let kind = fault.kind;
        if !fault.hosts.is_empty() {
            let mut named: Vec<usize> = fault.hosts.iter().map(|host| *host as usize - 1).collect();
            named.retain(|host| hosts.contains(host));
            hosts.retain(|host| !named.contains(host));
            let first = named.len();
            named.extend(hosts);
            return (first > 0 && named.len() > 1).then_some(Self { hosts: named, first, kind });
        }
        if hosts.len() < 2 {
            return None;
        }
        whom.shuffle(&mut hosts);
        let mut first = 1 + whom.below(hosts.len() as u64 - 1) as usize;
        if kind == FaultKind::IsolateLeader {
            let leader = leader?;
            hosts.sort_by_key(|host| *host != leader);
            first = 1;
        }
        if kind == FaultKind::Ring {
            first = hosts.len();
        }
        fault.hosts = hosts[..first].iter().map(|host| *host as u64 + 1).collect();
        Some(Self { hosts, first, kind })
    }

    /// Whom it strikes, as a bit mask, and the ways that it takes; none when its kind cuts nothing.
    pub(crate) fn ways(&self) -> Option<(u64, Vec<(usize, usize)>)> {
        let (left, right) = self.hosts.split_at(self.first);
        let mut struck = left.iter().fold(0, |mask, host| mask | 1 << host);
        let mut ways = Vec::new();
        let mut both = |a: usize, b: usize| ways.extend([(a, b), (b, a)]);
        match self.kind {
            FaultKind::Partition | FaultKind::IsolateLeader => {
                left.iter().for_each(|a| right.iter().for_each(|b| both(*a, *b)));
            }
            FaultKind::OneWay => {
                left.iter().for_each(|a| right.iter().for_each(|b| ways.push((*a, *b))));
            }
            FaultKind::Bridge => {
                // The first of the left group reaches everybody.
                struck = 1 << left[0];
                left[1..].iter().for_each(|a| right.iter().for_each(|b| both(*a, *b)));
            }
            FaultKind::Ring => {
                let hosts = &self.hosts;
                let count = hosts.len();
                for a in 0..count {
                    for b in a + 2..count {
                        if (a, b) != (0, count - 1) {
                            both(hosts[a], hosts[b]);
                        }
                    }
                }
            }
            _ => return None,
        }
        Some((struck, ways))
    }
}

/// Which hosts each host does not reach any more, as bit masks, in the order of the hosts.
pub(crate) fn by_host(ways: &[(usize, usize)]) -> BTreeMap<usize, u64> {
    let mut cut = BTreeMap::new();
    for (from, to) in ways {
        *cut.entry(*from).or_default() |= 1 << to;
    }
    cut
}

/// The ways between a host and all of `hosts`, there and back.
pub(crate) fn ways_of(host: usize, hosts: impl IntoIterator<Item = usize>) -> Vec<(usize, usize)> {
    let others = hosts.into_iter().filter(|other| *other != host);
    others.flat_map(|other| [(host, other), (other, host)]).collect()
}
