//! Three members on three simulated hosts, and clients on a fourth.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use blixard_node::time::{Now, Time, WallMs};
use blixard_runtime::Clock;
use blixard_tests::shell::{Client, PORT, Site, run_twice};

use crate::transport::{connect, transport};

/// The simulation's time: one for all hosts and for all daemons' lives on them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimClock;

impl Clock for SimClock {
    fn now(&self) -> Now {
        let elapsed = turmoil::sim_elapsed().expect("runs on a simulated host");
        let nanos = u64::try_from(elapsed.as_nanos()).expect("a test is shorter than centuries");
        // Not 0: a node's time begins after its host's.
        Now { boot: Time(nanos + 1), wall: WallMs(nanos / 1_000_000) }
    }
}

/// What only the simulation itself can do, between two steps.
enum Order {
    Crash(u64),
    Bounce(u64),
}

/// The members, as a scenario sees them.
#[derive(Clone)]
pub(crate) struct Cluster {
    sites: Vec<Arc<Site>>,
    orders: Rc<RefCell<Vec<Order>>>,
}

/// The clients' host.
pub(crate) const CLIENTS: &str = "clients";

pub(crate) fn host(member: u64) -> String {
    format!("member-{member}")
}

impl Cluster {
    /// The client `id`, an id of its own, which asks some member first.
    pub(crate) fn client(&self, id: u64) -> Client {
        let mut servers: Vec<_> = self.sites.iter().map(|site| site.address.clone()).collect();
        let first = id % servers.len() as u64;
        servers.rotate_left(usize::try_from(first).expect("is one of a few"));
        Client::new(id, connect(), servers)
    }

    /// A client of one member alone.
    pub(crate) fn client_of(&self, id: u64, member: u64) -> Client {
        Client::new(id, connect(), vec![self.site(member).address.clone()])
    }

    /// The other members.
    pub(crate) fn others(&self, member: u64) -> impl Iterator<Item = u64> {
        self.sites.iter().map(|site| site.id).filter(move |other| *other != member)
    }

    /// Ends a daemon as `kill -9` does. Its disk and its VMs stay.
    pub(crate) fn kill(&self, member: u64) {
        self.orders.borrow_mut().push(Order::Crash(member));
    }

    /// Starts a killed daemon again.
    pub(crate) fn restart(&self, member: u64) {
        self.orders.borrow_mut().push(Order::Bounce(member));
    }

    /// How many VMs are alive on a host, whatever its daemon says.
    pub(crate) fn alive_on(&self, member: u64) -> usize {
        self.site(member).host.alive(SimClock.now().boot)
    }

    /// Asserts that no VM ever ran on two hosts at once.
    pub(crate) fn assert_none_ran_twice(&self) {
        let hosts: Vec<_> = self.sites.iter().map(|site| &site.host).collect();
        assert_eq!(run_twice(&hosts, SimClock.now().boot), []);
    }

    /// The member at an address.
    pub(crate) fn member_at(&self, address: &str) -> u64 {
        self.sites.iter().find(|site| site.address == address).expect("is a member").id
    }

    fn site(&self, id: u64) -> &Arc<Site> {
        self.sites.iter().find(|site| site.id == id).expect("is a member")
    }
}

fn seed() -> u64 {
    let given = std::env::var("BLIXARD_TURMOIL_SEED").ok();
    given.map_or(1, |seed| seed.parse().expect("BLIXARD_TURMOIL_SEED is a number"))
}

/// Runs three members and a scenario to its end.
pub(crate) fn simulate<S>(scenario: impl FnOnce(Cluster) -> S)
where
    S: Future<Output = ()> + 'static,
{
    let seed = seed();
    println!("BLIXARD_TURMOIL_SEED={seed}");
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(600))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(10))
        // Segments that are under way to one connection; a held link keeps many.
        .tcp_capacity(16_384)
        .build();
    let sites: Vec<_> = (1..=3).map(|id| Site::new(id, format!("{}:{PORT}", host(id)), seed)).collect();
    let first = Arc::clone(&sites[0]);
    for site in &sites {
        let through = (site.id != first.id).then(|| Arc::clone(&first));
        let site = Arc::clone(site);
        sim.host(host(site.id), move || {
            let (site, through) = (Arc::clone(&site), through.clone());
            async move {
                let ended = site.run(through.as_deref(), SimClock, transport().await?).await;
                Err(format!("member {} ended by itself: {ended:?}", site.id).into())
            }
        });
    }
    let cluster = Cluster { sites, orders: Rc::default() };
    let orders = Rc::clone(&cluster.orders);
    let scenario = scenario(cluster);
    sim.client(CLIENTS, async move {
        scenario.await;
        Ok(())
    });
    while !sim.step().expect("no host fails") {
        for order in orders.borrow_mut().drain(..) {
            match order {
                Order::Crash(member) => sim.crash(host(member)),
                Order::Bounce(member) => sim.bounce(host(member)),
            }
        }
    }
}
