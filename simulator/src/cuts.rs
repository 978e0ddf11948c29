//! Which links a cut takes, and between whom.

use std::collections::BTreeMap;

use blixard_node::rng::Rng;

use crate::scenario::{Fault, FaultKind};

/// What a cut goes by where it does not go by chance.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    pub(crate) leader: Option<usize>,
    pub(crate) voters: Vec<usize>,
    /// They hold a replica and do not vote yet.
    pub(crate) learners: Vec<usize>,
}

impl Roles {
    /// Brings the leader's side of a split to the front; how many are on it. Of the others that hold no replica, two in three stay with it.
    fn split(&self, hosts: &mut [usize], whom: &mut Rng) -> Option<usize> {
        let leader = self.leader.filter(|leader| hosts.contains(leader))?;
        let voting = hosts.iter().filter(|host| self.voters.contains(host)).count();
        let mut seats = voting.saturating_sub(1) / 2;
        let mut stays = |host: usize| {
            if host == leader || self.learners.contains(&host) {
                host == leader || voting > 1
            } else if self.voters.contains(&host) {
                let stays = seats > 1;
                seats -= usize::from(stays);
                stays
            } else {
                whom.ratio(2, 3)
            }
        };
        let with: Vec<usize> = hosts.iter().copied().filter(|host| stays(*host)).collect();
        hosts.sort_by_key(|host| !with.contains(host));
        (with.len() < hosts.len()).then_some(with.len())
    }
}

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
        roles: &Roles,
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
            let leader = roles.leader?;
            hosts.sort_by_key(|host| *host != leader);
            first = 1;
        }
        if kind == FaultKind::Split {
            first = roles.split(&mut hosts, whom)?;
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
            FaultKind::Partition | FaultKind::IsolateLeader | FaultKind::Split => {
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

/// Draws whose messages a lag holds up unless `fault` says so, and notes it there: those of `host` to all others, or those of all others
/// to it. Whom it strikes, as a bit mask, and the ways that are slow; none when there are none.
pub(crate) fn lagging(
    fault: &mut Fault,
    host: usize,
    hosts: &[usize],
    whom: &mut Rng,
) -> Option<(u64, Vec<(usize, usize)>)> {
    let says = whom.ratio(1, 2);
    if fault.hosts.is_empty() {
        let late = hosts.iter().filter(|other| (**other == host) == says);
        fault.hosts = late.map(|host| *host as u64 + 1).collect();
    }
    let (late, others): (Vec<usize>, Vec<usize>) =
        hosts.iter().partition(|host| fault.hosts.contains(&(**host as u64 + 1)));
    let ways: Vec<(usize, usize)> =
        late.iter().flat_map(|from| others.iter().map(move |to| (*from, *to))).collect();
    let struck = late.iter().fold(0, |mask, host| mask | 1 << host);
    (!ways.is_empty()).then_some((struck, ways))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use blixard_node::time::Duration;

    use super::*;
    use crate::scenario::When;

    fn fault(kind: FaultKind) -> Fault {
        Fault::new(kind, When::At(Duration::ZERO))
    }

    /// Who stands on the first side, and who on the other.
    fn sides(cut: &Cut) -> [BTreeSet<usize>; 2] {
        let (left, right) = cut.hosts.split_at(cut.first);
        [left, right].map(|side| side.iter().copied().collect())
    }

    #[test]
    fn a_split_leaves_the_leader_fewer_than_half_of_the_voters_and_the_learners() {
        for voters in 2..=7 {
            let roles =
                Roles { leader: Some(1), voters: (0..voters).collect(), learners: vec![voters, voters + 1] };
            let mut workers = [false; 2];
            for seed in 0..20 {
                let mut split = fault(FaultKind::Split);
                let hosts = (0..voters + 4).collect();
                let cut = Cut::draw(&mut split, hosts, &roles, &mut Rng::new(seed, 0)).expect("a cut");
                let (with, without) = cut.hosts.split_at(cut.first);
                let voting = with.iter().filter(|host| **host < voters).count();
                assert_eq!(voting, ((voters - 1) / 2).max(1));
                assert!(
                    [1, voters, voters + 1].iter().all(|host| with.contains(host)),
                    "{with:?} {without:?}"
                );
                workers[usize::from(with.contains(&(voters + 3)))] = true;
                let named =
                    Cut::draw(&mut split.clone(), (0..voters + 4).collect(), &roles, &mut Rng::new(9, 9));
                assert_eq!(sides(&named.expect("a cut")), sides(&cut), "as it is noted");
            }
            assert_eq!(workers, [true, true], "workers stand on either side");
        }
    }

    #[test]
    fn a_split_needs_a_leader_and_another_voter() {
        let draw = |roles: &Roles| {
            Cut::draw(&mut fault(FaultKind::Split), vec![0, 1], roles, &mut Rng::new(1, 0)).is_some()
        };
        assert!(draw(&Roles { leader: Some(0), voters: vec![0, 1], ..Roles::default() }));
        assert!(!draw(&Roles { leader: None, voters: vec![0, 1], ..Roles::default() }));
        assert!(!draw(&Roles { leader: Some(2), voters: vec![0, 1], ..Roles::default() }));
    }

    #[test]
    fn a_lag_holds_up_what_a_host_says_or_what_it_hears() {
        let mut seen = [false; 2];
        for seed in 0..20 {
            let mut lag = fault(FaultKind::Lag);
            let drawn = lagging(&mut lag, 1, &[0, 1, 2], &mut Rng::new(seed, 0)).expect("ways");
            let says = drawn == (0b010, vec![(1, 0), (1, 2)]);
            assert!(says || drawn == (0b101, vec![(0, 1), (2, 1)]), "{drawn:?}");
            assert_eq!(lag.hosts, if says { vec![2] } else { vec![1, 3] });
            seen[usize::from(says)] = true;
            assert_eq!(lagging(&mut lag, 0, &[0, 1, 2], &mut Rng::new(9, 9)), Some(drawn), "as it is noted");
        }
        assert_eq!(seen, [true, true]);
        assert_eq!(lagging(&mut fault(FaultKind::Lag), 0, &[0], &mut Rng::new(1, 0)), None);
    }
}
