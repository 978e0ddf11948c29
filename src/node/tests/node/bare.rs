//! A replicated state without nodes around it: commands go in one by one, and what must hold of every state is asserted after each.

use std::sync::Arc;

use blixard_node::command::{Action, Command, HostSpec, Place, Placement};
use blixard_node::config::Settings;
use blixard_node::hypervisor::{Run, VmReport};
use blixard_node::ids::{ClientId, ClusterId, Generation, Incarnation, NodeId, RequestId, Revision};
use blixard_node::request::Write;
use blixard_node::spec::{Phase, Resources, VmSpec};
use blixard_node::state::sessions::Answer;
use blixard_node::state::{Applied, State, Vm};
use blixard_node::time::WallMs;

use crate::cluster::{name, spec};

pub(crate) struct Bare {
    pub(crate) state: State,
    sequence: u64,
}

/// A host with 4 vCPUs and 4096 MiB.
pub(crate) fn host() -> HostSpec {
    HostSpec {
        address: "host:7001".into(),
        capacity: Resources { vcpus: 4, memory_mib: 4096 },
        labels: [("hypervisor.simulated".to_owned(), "true".to_owned())].into(),
    }
}

/// As the one that [`spec`] gives, with a volume on its host.
pub(crate) fn with_volume() -> VmSpec {
    VmSpec { local_volume: true, ..(*spec()).clone() }
}

pub(crate) fn generation(number: u64) -> Option<Generation> {
    Some(Generation(number))
}

impl Bare {
    /// With the hosts n1 to n`hosts`.
    pub(crate) fn new(hosts: u64) -> Self {
        Self::with_settings(hosts, Settings::default())
    }

    pub(crate) fn with_settings(hosts: u64, settings: Settings) -> Self {
        let mut bare = Self { state: State::new(ClusterId(7), settings, Revision(1)), sequence: 0 };
        (1..=hosts).for_each(|node| {
            bare.add_host(node, host());
        });
        bare
    }

    pub(crate) fn act(&mut self, action: Action) -> Applied {
        let revision = Revision(self.state.revision.0 + 1);
        let applied = self.state.apply(revision, &Command { at: WallMs(revision.0 * 1_000), action });
        self.state.check();
        applied
    }

    pub(crate) fn add_host(&mut self, node: u64, host: HostSpec) -> Applied {
        self.act(Action::AddHost { node: NodeId(node), incarnation: Incarnation(node), host })
    }

    pub(crate) fn next_id(&mut self) -> RequestId {
        self.sequence += 1;
        RequestId { client: ClientId(1), sequence: self.sequence, born: Revision(0) }
    }

    pub(crate) fn client(&mut self, write: Write, place: Place) -> Applied {
        let id = self.next_id();
        self.act(Action::Client { id, write, place })
    }

    /// What a write is answered that needs no decision.
    pub(crate) fn write(&mut self, write: Write) -> Result<Generation, blixard_node::error::RequestError> {
        generation_of(self.client(write, Place::Unneeded).answer.expect("an answer"))
    }

    pub(crate) fn create(&mut self, text: &str, spec: VmSpec) {
        self.write(Write::CreateVm { name: name(text), spec: Arc::new(spec) }).unwrap();
    }

    pub(crate) fn start(&mut self, text: &str, node: u64) -> Applied {
        self.client(Write::StartVm { name: name(text), generation: None }, Place::On(NodeId(node)))
    }

    /// Creates a VM and starts it on `node`.
    pub(crate) fn run(&mut self, text: &str, spec: VmSpec, node: u64) {
        self.create(text, spec);
        assert!(matches!(self.start(text, node).answer, Some(Ok(_))), "{text} starts");
    }

    pub(crate) fn stop(&mut self, text: &str) -> Generation {
        self.write(Write::StopVm { name: name(text), generation: None }).unwrap()
    }

    /// Stops a VM, and its host confirms it.
    pub(crate) fn stop_and_confirm(&mut self, text: &str) {
        self.stop(text);
        let (node, _) = self.vm(text).assigned.unwrap();
        self.report(node.0, self.told(text, Phase::Stopped));
        assert_eq!(self.vm(text).assigned, None);
    }

    pub(crate) fn delete(&mut self, text: &str, keep_volumes: bool) -> Generation {
        self.write(Write::DeleteVm { name: name(text), generation: None, keep_volumes }).unwrap()
    }

    pub(crate) fn assign(&mut self, text: &str, to: u64) -> Applied {
        let vm = self.vm(text);
        let placement = Placement { name: name(text), vm: vm.id, epoch: vm.epoch, to: NodeId(to) };
        self.act(Action::Assign { moves: vec![placement] })
    }

    /// What an agent says that acts on the newest of everything.
    pub(crate) fn told(&self, text: &str, phase: Phase) -> VmReport {
        let vm = self.vm(text);
        VmReport {
            run: Run { vm: vm.id, epoch: vm.epoch },
            generation: vm.generation,
            phase,
            reason: String::new(),
            restarts: 0,
            artifact: None,
        }
    }

    pub(crate) fn report(&mut self, node: u64, report: VmReport) -> Applied {
        self.act(Action::Report { node: NodeId(node), reports: vec![report] })
    }

    pub(crate) fn lose(&mut self, node: u64) -> Applied {
        self.act(Action::LoseHost { node: NodeId(node) })
    }

    pub(crate) fn regain(&mut self, node: u64) -> Applied {
        self.act(Action::RegainHost { node: NodeId(node) })
    }

    pub(crate) fn vm(&self, text: &str) -> &Vm {
        &self.state.vms[&name(text)]
    }

    pub(crate) fn is_listed(&self, text: &str) -> bool {
        self.state.vms.contains_key(&name(text))
    }

    /// Phase and reason.
    pub(crate) fn stands(&self, text: &str) -> (Phase, &str) {
        (self.vm(text).phase, &self.vm(text).reason)
    }
}

pub(crate) fn generation_of(answer: Answer) -> Result<Generation, blixard_node::error::RequestError> {
    answer.map(|(_, generation)| generation)
}
