//! Three members on three simulated hosts. The test itself is the clients' host.

use std::net::SocketAddr;
use std::sync::Arc;

use blixard::daemon::RuntimeClock;
use blixard::net::{Transport, connect};
use blixard_node::time::Time;
use blixard_runtime::Clock as _;
use blixard_tests::shell::{Client, PORT, Site, run_twice};
use madsim::net::NetSim;
use madsim::runtime::{Handle, NodeHandle};

/// The members.
pub(crate) struct Cluster {
    members: Vec<(Arc<Site>, NodeHandle)>,
    net: Arc<NetSim>,
    clock: RuntimeClock,
}

impl Cluster {
    /// Starts the members: the first begins the cluster, the others join through it.
    pub(crate) fn start() -> Self {
        let handle = Handle::current();
        let net = madsim::plugin::simulator::<NetSim>();
        net.set_ip(madsim::plugin::node(), [10, 0, 0, 100].into());
        // One clock for all hosts and for all daemons' lives on them: clocks that differ are for the simulator.
        let clock = RuntimeClock { origin: tokio::time::Instant::now() };
        let site = |id: u8| Site::new(id.into(), format!("10.0.0.{id}:{PORT}"), handle.seed());
        let sites: Vec<_> = (1..=3).map(site).collect();
        let first = Arc::clone(&sites[0]);
        let members = sites.into_iter().map(|site| {
            let through = (site.id != first.id).then(|| Arc::clone(&first));
            let node = start(&handle, Arc::clone(&site), through, clock);
            (site, node)
        });
        Self { members: members.collect(), net, clock }
    }

    /// The client `id`, an id of its own, which asks some member first.
    pub(crate) fn client(&self, id: u64) -> Client {
        let mut servers: Vec<_> = self.members.iter().map(|(site, _)| site.address.clone()).collect();
        let first = id % servers.len() as u64;
        servers.rotate_left(usize::try_from(first).expect("is one of a few"));
        Client::new(id, connect(), servers)
    }

    /// A client of one member alone.
    pub(crate) fn client_of(&self, id: u64, member: u64) -> Client {
        Client::new(id, connect(), vec![self.member(member).0.address.clone()])
    }

    /// Ends a daemon as `kill -9` does. Its disk and its VMs stay.
    pub(crate) fn kill(&self, member: u64) {
        Handle::current().kill(self.member(member).1.id());
    }

    /// Starts a killed daemon again.
    pub(crate) fn restart(&self, member: u64) {
        Handle::current().restart(self.member(member).1.id());
    }

    /// Cuts a member off from the other members. Clients still reach it.
    pub(crate) fn cut_off(&self, member: u64) {
        self.links_of(member, NetSim::clog_link);
    }

    /// Ends what [`Cluster::cut_off`] began.
    pub(crate) fn reconnect(&self, member: u64) {
        self.links_of(member, NetSim::unclog_link);
    }

    /// From now on the member that `client` asks hears it, but is not heard by it.
    pub(crate) fn lose_answers_to(&self, client: &Client) {
        let asked = self.members.iter().find(|(site, _)| site.address == client.asks());
        let (_, node) = asked.expect("asks a member");
        self.net.clog_link(node.id(), madsim::plugin::node());
    }

    /// Ends what [`Cluster::lose_answers_to`] began.
    pub(crate) fn hear_all(&self) {
        for (_, node) in &self.members {
            self.net.unclog_link(node.id(), madsim::plugin::node());
        }
    }

    fn links_of(&self, member: u64, change: impl Fn(&NetSim, madsim::task::NodeId, madsim::task::NodeId)) {
        let one = self.member(member).1.id();
        for other in self.members.iter().map(|(_, node)| node.id()).filter(|other| *other != one) {
            change(&self.net, one, other);
            change(&self.net, other, one);
        }
    }

    /// How many VMs are alive on a host, whatever its daemon says.
    pub(crate) fn alive_on(&self, member: u64) -> usize {
        self.member(member).0.host.alive(self.now())
    }

    /// Asserts that no VM ever ran on two hosts at once.
    pub(crate) fn assert_none_ran_twice(&self) {
        let hosts: Vec<_> = self.members.iter().map(|(site, _)| &site.host).collect();
        assert_eq!(run_twice(&hosts, self.now()), []);
    }

    fn now(&self) -> Time {
        self.clock.now().boot
    }

    fn member(&self, id: u64) -> &(Arc<Site>, NodeHandle) {
        self.members.iter().find(|(site, _)| site.id == id).expect("is a member")
    }
}

fn start(handle: &Handle, site: Arc<Site>, through: Option<Arc<Site>>, clock: RuntimeClock) -> NodeHandle {
    let address: SocketAddr = site.address.parse().expect("an address");
    let daemon = move || {
        let (site, through) = (Arc::clone(&site), through.clone());
        async move {
            let ended = site.run(through.as_deref(), clock, Transport::simulated(address)).await;
            panic!("member {} ended by itself: {ended:?}", site.id);
        }
    };
    handle.create_node().ip(address.ip()).init(daemon).build()
}
