//! The steps of `docs/writing-a-backend.md`: a backend of one's own passes the suite, and a cluster over one like it holds. What the page shows
//! of code stands here, or in the example of a replicated counter.

mod toy;

use blixard_node::hypervisor::Run;
use blixard_node::input::Input;
use blixard_node::spec::{Labels, Resources, VmSpec};
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use blixard_runtime::hypervisor_conformance::{Bench, Guest, conformance};
use blixard_sim::scenario::Scenario;
use blixard_sim::subject::Blixard;
use blixard_sim::sweep::{Source, Sweep};

use toy::Toy;

impl Bench for Toy {
    fn hypervisor(&mut self) -> &mut dyn Hypervisor {
        self
    }

    fn now(&self) -> Time {
        self.0.borrow().now
    }

    fn pass(&mut self, span: Duration) -> Vec<Input> {
        let mut host = self.0.borrow_mut();
        let until = host.now + span;
        loop {
            let news = host.news();
            if !news.is_empty() || host.now >= until {
                return news;
            }
            host.pass(until);
        }
    }

    fn spec(&self, guest: Guest) -> Option<VmSpec> {
        let payload = match guest {
            Guest::Obedient => "obedient",
            Guest::Deaf => "deaf",
            Guest::PowersOff => "powers-off",
            Guest::Crashes => "crashes",
            Guest::Broken => "broken",
        };
        Some(VmSpec {
            resources: Resources { vcpus: 1, memory_mib: 64 },
            requires: Labels::new(),
            restart: Default::default(),
            failover: Default::default(),
            local_volume: false,
            hypervisor: "toy".into(),
            payload: payload.into(),
            ports: Vec::new(),
        })
    }

    fn can_pause(&self) -> bool {
        false
    }

    fn agent_dies(&mut self) {
        self.0.borrow_mut().forget_the_agent();
    }

    fn agent_comes(&mut self) {}

    fn is_alive(&mut self, run: Run) -> bool {
        self.0.borrow().is_alive(run)
    }

    fn left(&mut self) -> Vec<String> {
        self.0.borrow().alive()
    }

    fn kept(&mut self) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn the_toy_conforms() {
    conformance(|_| Toy::default());
}

/// What the toy does wrong, were it real: it fails to start every tenth VM, and its answers get lost.
const TOY: &str = r#"
name = "toy"

[cluster]
voters = 3
workers = 1

[run]
warmup = "10s"
duration = "30s"

[hypervisor]
start = "1ms..20ms"
start_fails = "10%"
answer_lost = "5%"
exit_silent = "20%"

[[fault]]
kind = "crash"
every = "5s..10s"
"#;

#[test]
fn a_cluster_over_it_holds() {
    let scenario = Scenario::parse("toy.toml", TOY).expect("a scenario");
    let scenarios = vec![(scenario.name.clone(), Source::Fixed(Box::new(scenario)))];
    let sweep = Sweep { scenarios, seeds: (0..4).into(), ..Sweep::default() };
    let swept = sweep.run(&Blixard::default(), &|_| {});
    assert_eq!((swept.runs, swept.failures), (4, 0), "{:?}", swept.failed);
}

/// The Rust of a page, by blocks and what stands between their lines `// …`.
fn pieces(page: &str) -> Vec<String> {
    let blocks = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let pieces = blocks.flat_map(|block| block.split("// …")).map(flat);
    pieces.filter(|piece| !piece.is_empty()).collect()
}

/// The text without what formatting adds.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_code_of_the_page_is_this_code() {
    let page = include_str!("../../../docs/writing-a-backend.md");
    let sources = [
        include_str!("toy.rs"),
        include_str!("main.rs"),
        include_str!("../../../examples/replicated-counter/src/counter.rs"),
        include_str!("../../../examples/replicated-counter/src/lib.rs"),
    ]
    .map(flat);
    let pieces = pieces(page);
    assert!(pieces.len() > 8, "{pieces:?}");
    let strange: Vec<_> =
        pieces.iter().filter(|piece| !sources.iter().any(|source| source.contains(*piece))).collect();
    assert_eq!(strange, [""; 0], "nothing that is compiled says this");
}
