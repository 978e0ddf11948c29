//! Guests that do not do what is asked of them.

use blixard_node::config::RaftConfig;
use blixard_node::request::Write;
use blixard_node::spec::Phase;
use blixard_node::time::Duration;

use crate::cluster::{Cluster, Guests, name, spec};

fn started(guests: Guests) -> Cluster {
    let mut cluster = Cluster::new(1, RaftConfig::default());
    cluster.tell = true;
    cluster.guests = guests;
    cluster.run(Duration::from_secs(5));
    cluster.done(Write::CreateVm { name: name("web"), spec: spec() }).unwrap();
    cluster.done(Write::StartVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.running().len(), 1, "{}", cluster.log);
    cluster
}

fn stands(cluster: &Cluster) -> (Phase, String) {
    let vm = &cluster.node(1).state().unwrap().vms[&name("web")];
    (vm.phase, vm.reason.clone())
}

#[test]
fn a_guest_that_cannot_be_asked_to_power_off_is_killed() {
    let mut cluster = started(Guests::Unaskable);
    cluster.done(Write::StopVm { name: name("web"), generation: None }).unwrap();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.running(), [], "{}", cluster.log);
    assert_eq!(stands(&cluster).0, Phase::Stopped);
}

#[test]
fn a_guest_that_never_gets_ready_is_given_up_and_started_anew() {
    let mut cluster = started(Guests::NeverReady);
    cluster.run(Duration::from_secs(50));
    assert_eq!(stands(&cluster), (Phase::Starting, String::new()));
    assert_eq!(cluster.log.matches(" starts").count(), 1, "{}", cluster.log);
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.log.matches(" stops").count(), 1, "{}", cluster.log);
    let told = cluster.node(1).state().unwrap().vms[&name("web")].transitions.iter();
    let failed: Vec<&str> = told.filter(|t| t.phase == Phase::Failed).map(|t| t.reason.as_str()).collect();
    assert_eq!(failed, ["the guest was not ready within 60s"]);
    assert_eq!(cluster.log.matches(" starts").count(), 2, "{}", cluster.log);
    cluster.guests = Guests::Willing;
    cluster.run(Duration::from_secs(15));
    assert_eq!(stands(&cluster).0, Phase::Running);
}
