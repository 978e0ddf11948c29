//! The simulated hypervisor keeps the promises that real ones keep.

use std::cell::Cell;
use std::rc::Rc;

use blixard_node::hypervisor::Run;
use blixard_node::ids::NodeId;
use blixard_node::input::Input;
use blixard_node::rng::Rng;
use blixard_node::spec::{Labels, Resources, VmSpec};
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use blixard_runtime::hypervisor_conformance::{Bench, Guest, conformance};
use blixard_sim::clock::SimClock;
use blixard_sim::hypervisor::{HostHypervisor, HypervisorFaults, HypervisorHandle};
use blixard_sim::scenario::{Chance, Spread};

/// One simulated host.
struct Host {
    true_now: Rc<Cell<u64>>,
    clock: SimClock,
    hypervisor: HostHypervisor,
    handle: Option<HypervisorHandle>,
    builds: Chance,
}

impl Host {
    fn new(builds: Chance) -> Self {
        let true_now = Rc::new(Cell::new(0));
        let clock = SimClock::new(Rc::clone(&true_now), Duration::from_secs(100));
        let faults = HypervisorFaults { builds, ..HypervisorFaults::default() };
        let (grace, rngs) = (Duration::from_millis(1_000), [Rng::new(1, 0), Rng::new(1, 1)]);
        let hypervisor = HostHypervisor::new(NodeId(1), Rc::new(clock.clone()), faults, grace, rngs);
        let handle = Some(hypervisor.attach());
        Self { true_now, clock, hypervisor, handle, builds }
    }
}

impl Bench for Host {
    fn hypervisor(&mut self) -> &mut dyn Hypervisor {
        self.handle.as_mut().expect("an agent")
    }

    fn now(&self) -> Time {
        self.clock.local_at(self.clock.true_now())
    }

    fn pass(&mut self, span: Duration) -> Vec<Input> {
        let until = self.clock.true_now() + span;
        let mut heard = Vec::new();
        while let Some(next) = self.hypervisor.next_event_time().filter(|next| *next <= until) {
            self.true_now.set(self.true_now.get().max(next.0));
            self.hypervisor.advance(self.clock.true_now(), &mut heard);
            if !heard.is_empty() {
                return heard;
            }
        }
        self.true_now.set(until.0);
        heard
    }

    /// What the next start comes to.
    fn spec(&self, guest: Guest) -> Option<VmSpec> {
        let always = Chance::one_in(1);
        let if_so = |wanted: Guest| if guest == wanted { always } else { Chance::NEVER };
        self.hypervisor.set_faults(HypervisorFaults {
            builds: self.builds,
            start_fails: if_so(Guest::Broken),
            stop_hangs: if_so(Guest::Deaf),
            guest_crashes: if_so(Guest::Crashes),
            guest_powers_off: if_so(Guest::PowersOff),
            lifetime: Spread::millis(300, 300),
            ..HypervisorFaults::default()
        });
        Some(VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 64 },
            requires: Labels::new(),
            restart: Default::default(),
            failover: Default::default(),
            local_volume: false,
            hypervisor: "sim".into(),
            payload: String::new(),
            ports: Vec::new(),
        })
    }

    fn can_pause(&self) -> bool {
        true
    }

    fn words(&self, guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "powered itself off",
            Guest::Crashes => "panicked",
            _ => "",
        }
    }

    fn agent_dies(&mut self) {
        self.handle = None;
        self.hypervisor.detach();
    }

    fn agent_comes(&mut self) {
        self.handle = Some(self.hypervisor.attach());
    }

    fn is_alive(&mut self, run: Run) -> bool {
        self.hypervisor.with(|inside| inside.alive().any(|alive| alive == run))
    }

    fn left(&mut self) -> Vec<String> {
        self.hypervisor
            .with(|inside| inside.alive().chain(inside.ghosts()).map(|run| format!("{run:?}")).collect())
    }

    fn kept(&mut self) -> Vec<String> {
        self.hypervisor.with(|inside| inside.kept().map(|vm| vm.to_string()).collect())
    }
}

#[test]
fn conforms() {
    conformance(|_| Host::new(Chance::NEVER));
}

#[test]
fn conforms_with_vms_that_are_built() {
    conformance(|_| Host::new(Chance::one_in(1)));
}
