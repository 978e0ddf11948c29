//! Rare and legal behaviour of the simulated backends, by site. Whether a site is on at all is the scenario's to say, or the seed's that
//! draws it; a site that is on fires with a chance of its own whenever it is passed (FoundationDB's `BUGGIFY`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use blixard_node::rng::Rng;
use blixard_node::time::Duration;

use crate::scenario::{Buggify, Chance, Site, Spread};

/// All sites of one world. Clones are the same sites.
#[derive(Clone, Debug)]
pub(crate) struct Sites(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    chances: Buggify,
    seed: u64,
    /// The seed's streams for them begin here.
    stream: u64,
    /// By site and host, made when they are first needed.
    rngs: BTreeMap<(Site, usize), Rng>,
    fired: BTreeMap<&'static str, u64>,
    /// What has fired and was not told yet.
    news: VecDeque<(Site, usize)>,
}

impl Inner {
    fn rng(&mut self, site: Site, host: usize) -> &mut Rng {
        let stream = self.stream | (site as u64) << 16 | host as u64;
        self.rngs.entry((site, host)).or_insert_with(|| Rng::new(self.seed, stream))
    }
}

impl Sites {
    pub(crate) fn new(chances: Buggify, seed: u64, stream: u64) -> Self {
        let (rngs, fired, news) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self(Rc::new(RefCell::new(Inner { chances, seed, stream, rngs, fired, news })))
    }

    /// Whether the site, passed on behalf of `host`, fires now.
    pub(crate) fn fires(&self, site: Site, host: usize) -> bool {
        let mut inner = self.0.borrow_mut();
        let chance = inner.chances.chance(site);
        // Most sites are off most of the time.
        if chance == Chance::NEVER || !chance.draw(inner.rng(site, host)) {
            return false;
        }
        *inner.fired.entry(site.name()).or_default() += 1;
        inner.news.push_back((site, host));
        true
    }

    /// A number below `bound`, of a site that fired.
    pub(crate) fn below(&self, site: Site, host: usize, bound: u64) -> u64 {
        self.0.borrow_mut().rng(site, host).below(bound)
    }

    /// A span, of a site that fired.
    pub(crate) fn span(&self, site: Site, host: usize, millis: std::ops::RangeInclusive<u64>) -> Duration {
        Spread::millis(*millis.start(), *millis.end()).draw(self.0.borrow_mut().rng(site, host))
    }

    /// Another order, of a site that fired.
    pub(crate) fn shuffle<T>(&self, site: Site, host: usize, items: &mut [T]) {
        self.0.borrow_mut().rng(site, host).shuffle(items);
    }

    /// No site fires any more.
    pub(crate) fn silence(&self) {
        self.0.borrow_mut().chances = Buggify::default();
    }

    /// What has fired since this was asked last: site and host.
    pub(crate) fn pop_news(&self) -> Option<(Site, usize)> {
        self.0.borrow_mut().news.pop_front()
    }

    /// How often each site has fired.
    pub(crate) fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.0.borrow().fired.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_fires_at_its_chance_and_leaves_the_others_alone() {
        let mut chances = Buggify { net_kept_long: Chance::one_in(4), ..Buggify::default() };
        let run = |chances: &Buggify| {
            let sites = Sites::new(chances.clone(), 7, 0);
            let fired: Vec<bool> = (0..1_000)
                .map(|_| {
                    sites.fires(Site::DiskSyncSlow, 1);
                    sites.fires(Site::NetKeptLong, 0)
                })
                .collect();
            (fired, sites.fired())
        };
        let (alone, counts) = run(&chances);
        assert!((150..350).contains(&counts["net_kept_long"]) && counts.len() == 1, "{counts:?}");
        chances.disk_sync_slow = Chance::one_in(2);
        let (beside, counts) = run(&chances);
        assert_eq!((alone, 2), (beside, counts.len()));
    }

    #[test]
    fn a_silenced_site_is_silent() {
        let mut chances = Buggify::default();
        for site in Site::ALL {
            *chances.chance_mut(*site) = Chance::one_in(1);
        }
        let sites = Sites::new(chances, 7, 0);
        assert!(Site::ALL.iter().all(|site| sites.fires(*site, 0)));
        sites.silence();
        assert!(!Site::ALL.iter().any(|site| sites.fires(*site, 0)));
    }
}
