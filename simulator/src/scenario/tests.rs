use super::*;

fn refused(text: &str) -> String {
    Scenario::parse("x.toml", text).expect_err("must be refused").to_string()
}

#[test]
fn defaults_fill_what_is_left_out() {
    let scenario = Scenario::parse("x.toml", "name = \"x\"\n[network]\nloss = \"0.1%\"\n").unwrap();
    assert_eq!(scenario.network.loss, Chance::one_in(1_000));
    assert_eq!(scenario.network.latency, Network::default().latency);
    assert_eq!(scenario.cluster, Cluster::default());
}

#[test]
fn complaints_name_file_line_column_and_remedy() {
    assert_eq!(
        refused("name = \"x\"\n\n[network]\n  latncy = \"1ms\"\n"),
        "x.toml:4:3: unknown key `latncy` in [network]; did you mean `latency`?"
    );
    assert_eq!(
        refused("name = \"x\"\n[netwrok]\n"),
        "x.toml:2:2: unknown key `netwrok` in the scenario; did you mean `network`?"
    );
    assert_eq!(
        refused("name = \"x\"\n[run]\nwarmup = \"5\"\n"),
        "x.toml:3:10: `warmup`: \"5\" has no unit: write 5us, 5ms or 5s"
    );
    assert!(
        refused("name = \"x\"\n[run]\nwarmup = 5\n")
            .contains("x.toml:3:10: `warmup`: the bare number 5 where")
    );
    assert!(
        refused("name = \"x\"\n[cluster]\nvoters = 4\n")
            .contains("x.toml:3:10: `voters`: 4 is not 1, 3, 5 or 7")
    );
    assert!(
        refused("name = \"x\"\n[cluster]\ninflight_max = 129\n")
            .contains("129 times append_bytes_max (262144) must be at most 33554432")
    );
    assert!(refused("name = \"x\"\n[cluster]\nvoters = -1\n").contains("x.toml:3:10"));
    assert!(refused("name = \"x\"\n[network]\nloss = \"200%\"\n").contains("more than certain"));
    assert!(refused("name = \"x\"\n[network]\nloss = 0.5\n").contains("the bare fraction 0.5"));
    assert!(refused("name = \"x\"\n[network]\nlatency = \"5ms..1ms\"\n").contains("\"1ms..5ms\""));
    assert!(refused("name = \"x\"\nname = \"y\"\n").starts_with("x.toml:2:1: duplicate key"));
    assert!(refused("name = \"x\"\n[clock]\ndrift_ppm = 5000\n").contains("past_bound"));
    assert!(refused("[run]\n").contains("no `name`"));
}

#[test]
fn faults_take_only_the_keys_of_their_kind() {
    let text = |body: &str| format!("name = \"x\"\n[[fault]]\n{body}\n");
    assert_eq!(
        refused(&text("kind = \"partitoin\"")),
        format!(
            "x.toml:3:8: `kind`: \"partitoin\" is not {}; did you mean \"partition\"?",
            <FaultKind as Value>::FORM
        )
    );
    assert!(refused(&text("kind = \"partition\"")).contains("needs `at = "));
    assert!(refused(&text("kind = \"crash\"\nat = \"1s\"\nevery = \"2s\"")).contains("give one of the two"));
    assert!(
        refused(&text("kind = \"partition\"\nat = \"1s\"\ntimes = 3"))
            .contains("unknown key `times` in a partition fault")
    );
    assert!(refused(&text("kind = \"crash\"\nat = \"1s\"\nnode = 9")).contains("hosts 1 to 8"));
    assert!(refused(&text("kind = \"member-add\"\nat = \"1s\"")).contains("spares"));
    let crash =
        Scenario::parse("x.toml", &text("kind = \"crash\"\nevery = \"5s..9s\"\npoint = \"mid-write\""))
            .unwrap();
    assert_eq!(crash.faults[0].point, CrashPoint::MidWrite);
    assert_eq!(crash.faults[0].when, When::Every(Spread::millis(5_000, 9_000)));
}
