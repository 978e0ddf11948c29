use super::*;

fn parsed(text: &str) -> Scenario {
    Scenario::parse("x.toml", text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

fn refused(text: &str) -> String {
    Scenario::parse("x.toml", text).expect_err("must be refused").to_string()
}

#[test]
fn a_drawn_scenario_is_a_scenario_file() {
    for seed in 0..300 {
        let drawn = draw(seed);
        let text = drawn.to_toml();
        assert_eq!(parsed(&text), drawn, "{text}");
    }
}

#[test]
fn every_kind_of_fault_is_on_about_half_of_the_time() {
    // Themes have faults of their own in place of what is drawn.
    let drawn: Vec<Scenario> = (0..200).map(|seed| freely(&whole(), seed)).collect();
    for kind in FaultKind::ALL {
        let on =
            drawn.iter().filter(|scenario| scenario.faults.iter().any(|fault| fault.kind == *kind)).count();
        assert!((50..150).contains(&on), "{kind} is on in {on} of 200");
    }
}

#[test]
fn every_moment_is_aimed_at() {
    let faults: Vec<Fault> = (0..200).flat_map(|seed| draw(seed).faults).collect();
    for aim in Aim::ALL {
        assert!(faults.iter().any(|fault| fault.aim == Some(*aim)), "{aim}");
    }
}

/// What stands at its default in every seed is not drawn.
#[test]
fn every_condition_is_on_and_off() {
    let drawn: Vec<Scenario> = (0..300).map(draw).collect();
    let chances = |scenario: &Scenario| {
        let mut all = scenario.network.chances();
        all.extend(scenario.disk.chances());
        all.extend(scenario.hypervisor.chances());
        all.extend(scenario.workload.chances());
        all.extend(scenario.buggify.chances());
        all
    };
    for (place, (key, _)) in chances(&drawn[0]).into_iter().enumerate() {
        let on = drawn.iter().filter(|scenario| chances(scenario)[place].1 != Chance::NEVER).count();
        assert!((75..225).contains(&on), "{key} is on in {on} of 300");
    }
    let varies = |what: &str, of: &dyn Fn(&Scenario) -> String| {
        let first = of(&drawn[0]);
        assert!(drawn.iter().any(|scenario| of(scenario) != first), "{what} is the same in every seed");
    };
    for key in Cluster::keys().into_iter().map(|key| key.name) {
        varies(key, &|scenario| {
            let mut alone = Cluster::default();
            alone.take_over(&scenario.cluster, |name| name == key);
            format!("{alone:?}")
        });
    }
}

const PARTLY: &str = "name = \"x\"\n[cluster]\nvoters = 5\nlease_ttl = \"8s\"\n[network]\nloss = \"0\"\n\
    [disk]\nlatency = \"1ms\"\n[[fault]]\nkind = \"crash\"\nevery = \"5s\"\n\
    [swarm]\ndraw = [\"cluster\", \"network\", \"faults\", \"hypervisor.start\"]\n";

#[test]
fn what_the_file_writes_stays_and_the_rest_is_drawn() {
    let scenario = parsed(PARTLY);
    let mut latencies = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let drawn = resolve(&scenario, seed);
        assert_eq!((drawn.cluster.voters, drawn.network.loss), (5, Chance::NEVER));
        assert_eq!(drawn.cluster.lease_ttl, Duration::from_secs(8));
        assert_eq!(drawn.disk, scenario.disk, "not drawn at all");
        assert_eq!(drawn.workload.clients, scenario.workload.clients);
        let crashes: Vec<&Fault> =
            drawn.faults.iter().filter(|fault| fault.kind == FaultKind::Crash).collect();
        assert_eq!(crashes, [&scenario.faults[0]]);
        let only_start = Hypervisor { start: drawn.hypervisor.start, ..Hypervisor::default() };
        assert_eq!(drawn.hypervisor, only_start);
        latencies.insert(drawn.network.latency.min.0);
        let text = drawn.to_toml();
        assert_eq!(parsed(&text), *drawn, "{text}");
        assert_eq!(resolve(&drawn, seed), drawn, "what comes out draws nothing any more");
    }
    assert!(latencies.len() > 50);
}

#[test]
fn a_part_that_stays_leaves_the_others_alone() {
    let kept = parsed("name = \"x\"\n[swarm]\ndraw = [\"cluster\", \"network\"]\n");
    for seed in 0..20 {
        let (part, whole) = (resolve(&kept, seed), draw(seed));
        assert_eq!(part.network, whole.network);
        assert_eq!(part.hypervisor, Hypervisor::default());
    }
}

#[test]
fn the_table_survives_being_written() {
    let scenario = parsed(PARTLY);
    let text = scenario.to_toml();
    assert!(text.contains("loss = \"0\""), "{text}");
    assert_eq!(parsed(&text), scenario, "{text}");
}

#[test]
fn a_drawn_cluster_fits_what_is_written() {
    let text = "name = \"x\"\n[workload]\nvm_vcpus_max = 30\n[clock]\ndrift_ppm = 900\n[[fault]]\nkind = \"crash\"\n\
        at = \"1s\"\nnode = 8\n[swarm]\ndraw = [\"cluster\"]\n";
    for seed in 0..50 {
        let drawn = resolve(&parsed(text), seed).to_toml();
        parsed(&drawn);
    }
}

#[test]
fn complaints_about_the_table_name_the_remedy() {
    let text = |body: &str| format!("name = \"x\"\n[swarm]\n{body}\n");
    assert!(refused(&text("")).contains("write such as draw = [\"network\"]"));
    assert!(refused(&text("draw = [\"netwrok\"]")).contains("did you mean \"network\"?"));
    assert!(refused(&text("draw = [\"network.los\"]")).contains("did you mean \"network.loss\"?"));
    assert!(refused(&text("draw = \"network\"")).contains("where a list of parts is due"));
    assert!(refused(&text("draw = []\ndarw = 1")).contains("did you mean `draw`?"));
}
