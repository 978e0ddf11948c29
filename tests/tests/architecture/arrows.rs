//! Which crate may depend on which: `node ← runtime ← {blixard, simulator}`, `proto ← blixard`, tests see all; and the pure
//! crates reach no async runtime and no transport, however far down.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::root;

/// Each crate of the workspace with those of the workspace it may depend on, in whatever way.
const ARROWS: [(&str, &[&str]); 8] = [
    ("blixard-node", &[]),
    ("blixard-runtime", &["blixard-node"]),
    ("blixard-proto", &["blixard-node"]),
    ("blixard-sim", &["blixard-node", "blixard-runtime"]),
    ("blixard", &["blixard-node", "blixard-runtime", "blixard-proto"]),
    ("xtask", &["blixard-sim"]),
    ("replicated-counter", &["blixard-sim"]),
    ("blixard-tests", &["blixard", "blixard-node", "blixard-proto", "blixard-runtime", "blixard-sim"]),
];

/// Crates that run in the simulator.
const PURE: [&str; 3] = ["blixard-node", "blixard-runtime", "blixard-sim"];

/// What they must not reach: names, or beginnings of names where a `*` stands.
const FORBIDDEN: [&str; 10] =
    ["tokio*", "tonic*", "madsim*", "hyper*", "h2", "mio", "smol", "async-std", "turmoil", "reqwest"];

/// Crates by name (of all versions), with what each needs.
#[derive(Debug, Default)]
struct Graph {
    /// The workspace's own.
    members: BTreeSet<String>,
    /// What a crate is linked with.
    normal: BTreeMap<String, BTreeSet<String>>,
    /// What it needs for its build or its tests only.
    other: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of_workspace() -> Self {
        let manifest = root().join("Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .other_options(vec!["--locked".to_owned(), "--all-features".to_owned()])
            .exec()
            .expect("cargo metadata describes the workspace");
        let name = |id| metadata[id].name.to_string();
        let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves dependencies");
        let mut graph = Self::default();
        graph.members.extend(metadata.workspace_members.iter().map(name));
        for node in &resolve.nodes {
            for dependency in &node.deps {
                let to = name(&dependency.pkg);
                for kind in &dependency.dep_kinds {
                    let linked = kind.kind == DependencyKind::Normal;
                    graph.edge(&name(&node.id), &to, linked);
                }
            }
        }
        graph
    }

    fn edge(&mut self, from: &str, to: &str, linked: bool) {
        let edges = if linked { &mut self.normal } else { &mut self.other };
        edges.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    /// How `from` comes to be linked with a forbidden crate, each with the way there.
    fn forbidden_below(&self, from: &str) -> Vec<String> {
        let mut ways = BTreeMap::from([(from.to_owned(), from.to_owned())]);
        let mut left = vec![from.to_owned()];
        let mut found = Vec::new();
        while let Some(at) = left.pop() {
            for to in self.normal.get(&at).into_iter().flatten() {
                if ways.contains_key(to) {
                    continue;
                }
                let way = format!("{} -> {to}", ways[&at]);
                if FORBIDDEN.iter().any(|pattern| matches(pattern, to)) {
                    found.push(way.clone());
                }
                ways.insert(to.clone(), way);
                left.push(to.clone());
            }
        }
        found
    }

    /// Dependencies among the workspace's crates that the plan does not know, and crates it does not know.
    fn arrows_against_the_plan(&self) -> Vec<String> {
        let mut found = Vec::new();
        for from in &self.members {
            let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == from) else {
                found.push(format!("{from} is not in the plan"));
                continue;
            };
            let edges = [&self.normal, &self.other].into_iter().filter_map(|edges| edges.get(from)).flatten();
            let ours = edges.filter(|to| self.members.contains(*to) && *to != from);
            let against = ours.filter(|to| !allowed.contains(&to.as_str()));
            found.extend(against.map(|to| format!("{from} -> {to}")));
        }
        found
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == pattern,
    }
}

#[test]
fn every_arrow_runs_with_the_plan() {
    let graph = Graph::of_workspace();
    assert_eq!(graph.members.len(), ARROWS.len(), "the plan lists other crates than the workspace");
    assert_eq!(graph.arrows_against_the_plan(), [""; 0]);
}

#[test]
fn the_pure_crates_reach_no_async_runtime_and_no_transport() {
    let graph = Graph::of_workspace();
    for pure in PURE {
        assert_eq!(graph.forbidden_below(pure), [""; 0]);
    }
    // The look is a real one: the daemon does reach them.
    let daemon = graph.forbidden_below("blixard").join("\n");
    assert!(daemon.contains("-> tonic") && daemon.contains("-> tokio"), "{daemon}");
}

#[test]
fn nobody_is_built_with_bugs_unless_asked_to() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .expect("cargo metadata describes the workspace");
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves dependencies");
    let with_bugs = |node: &&cargo_metadata::Node| node.features.iter().any(|feature| **feature == "planted");
    let found: Vec<_> = resolve.nodes.iter().filter(with_bugs).map(|node| node.id.to_string()).collect();
    assert_eq!(found, [""; 0]);
    // The daemon has no way to ask for it.
    let daemon =
        metadata.packages.iter().find(|package| package.name.as_str() == "blixard").expect("it is a member");
    assert!(!daemon.features.contains_key("planted"));
    let asks = |dependency: &&cargo_metadata::Dependency| {
        dependency.features.iter().any(|feature| feature == "planted")
    };
    assert_eq!(daemon.dependencies.iter().find(asks).map(|dependency| &dependency.name), None);
}

fn made_up(edges: &[(&str, &str, bool)]) -> Graph {
    let mut graph = Graph::default();
    graph.members.extend(ARROWS.iter().map(|(name, _)| (*name).to_owned()));
    for (from, to, linked) in edges {
        graph.edge(from, to, *linked);
    }
    graph
}

#[test]
fn a_transport_far_down_is_found_with_the_way_to_it() {
    let graph = made_up(&[
        ("blixard-sim", "blixard-node", true),
        ("blixard-node", "raft", true),
        ("raft", "some-logger", true),
        ("some-logger", "tokio-util", true),
        ("raft", "tonic-build", false),
    ]);
    let way = "blixard-sim -> blixard-node -> raft -> some-logger -> tokio-util";
    assert_eq!(graph.forbidden_below("blixard-sim"), [way]);
}

#[test]
fn what_only_a_build_or_a_test_needs_is_not_linked() {
    let graph = made_up(&[("blixard-node", "tonic-build", false), ("tonic-build", "tokio", true)]);
    assert_eq!(graph.forbidden_below("blixard-node"), [""; 0]);
}

#[test]
fn an_arrow_against_the_plan_is_found_also_when_only_tests_need_it() {
    let graph = made_up(&[
        ("blixard-runtime", "blixard-node", true),
        ("blixard-node", "blixard-runtime", false),
        ("blixard-sim", "blixard-proto", true),
    ]);
    let against = graph.arrows_against_the_plan();
    assert_eq!(against, ["blixard-node -> blixard-runtime", "blixard-sim -> blixard-proto"]);
}

#[test]
fn a_crate_that_the_plan_does_not_know_is_found() {
    let mut graph = made_up(&[]);
    graph.members.insert("blixard-extras".to_owned());
    assert_eq!(graph.arrows_against_the_plan(), ["blixard-extras is not in the plan"]);
}
