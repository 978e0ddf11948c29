use crate::Place;

#[test]
fn flags_that_make_no_sense_are_named_with_the_way_out() {
    let place = Place::new();
    std::fs::create_dir(place.path("empty")).unwrap();
    for (arguments, why) in [
        ("sweep --seeds 0..1", "--scenario <SCENARIO>"),
        ("sweep --scenario short.toml", "--seeds <A..B>"),
        ("swarm --seeds 5..5", "\"5..5\" holds no seed: the end is not included"),
        ("swarm --seeds some", "\"some\" is no range of seeds: write such as 0..1000"),
        ("swarm --seeds 0..9 --shard 4", "\"4\" is no share: write such as 3/16"),
        ("swarm --seeds 0..9 --shard 4/3", "the shares of 3 are 1/3 to 3/3"),
        ("swarm --seeds 0..1 --shard 2/2", "--shard 2/2: this share of seeds 0..1 holds no run"),
        ("swarm --seeds 0..9 --jobs 0", "0 is not in 1..=4096"),
        ("swarm --seeds 0..9 --max-failures 0", "0 is not in 1.."),
        ("swarm --seeds 0..9 --time soon", "--time: "),
        ("swarm --seeds 0..9 --hang never", "--hang: "),
        ("swarm --seeds 0..9 --no-history --resume", "cannot be used with"),
        ("swarm --seeds 0..9 --junit nowhere/at/all.xml", "cannot write nowhere/at/all.xml: "),
        ("sweep --scenario short.toml --scenario short.toml --seeds 0..1", "short.toml is there twice"),
        ("sweep --scenario empty --seeds 0..1", "the folder empty holds no .toml file"),
        ("sweep --scenario shrot.toml --seeds 0..1", "there is no scenario \"shrot.toml\""),
        ("swarm --seeds 0..9 --artifacts kept", "--shrink"),
        ("swarm --seeds 0..9 --shrink --shrink-time long", "--shrink-time: "),
        (
            "swarm --seeds 0..9 --shrink --artifacts short.toml",
            "--artifacts: cannot make the folder short.toml",
        ),
        ("history --history nowhere.redb", "there is no history at nowhere.redb"),
        ("history --format xml", "[possible values: table, json]"),
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments}: {}", ran.err);
        assert!(ran.err.contains(why), "{arguments}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments}");
    }
}

#[test]
fn files_that_are_not_what_is_due_are_named_with_the_way_out() {
    let place = Place::new();
    std::fs::create_dir(place.path("folder")).unwrap();
    std::fs::write(place.path("noise.bin"), [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(place.run("--seed 1 --scenario short.toml --trace run.trace").code, Some(0));
    let trace = crate::read(&place.path("run.trace"));
    std::fs::write(place.path("old.trace"), trace.replacen("\"version\":2", "\"version\":1", 1)).unwrap();
    std::fs::write(place.path("cut.trace"), &trace[..trace.len() / 2]).unwrap();
    for (arguments, why) in [
        ("--seed -1 --scenario short.toml", "\"-1\" is no seed: write a whole number below 2^64"),
        ("--seed 1 --scenario folder", "folder is a folder: give one scenario file"),
        ("--seed 1 --scenario noise.bin", "cannot read noise.bin: "),
        ("--seed 1 --scenario run.trace", "run.trace is a trace, no scenario: `explain run.trace` reads it"),
        ("replay nowhere.toml", "give a file that shrink has written"),
        ("replay run.trace", "run.trace is a trace, no scenario"),
        ("replay short.toml", "short.toml has no `seed`"),
        ("explain", "give a trace file, or --seed and --scenario"),
        ("explain nowhere.trace", "give a file that --trace has written"),
        ("explain folder", "give a file that --trace has written"),
        ("explain short.toml", "give a file that --trace has written"),
        ("explain old.trace", "it has version 1 of blixard-trace, this program reads 2; write it anew"),
        ("explain cut.trace", "write it anew with --trace"),
        ("diff run.trace nowhere.trace", "nowhere.trace: cannot be read: "),
        ("shrink --seed 1 --scenario short.toml --jobs 0", "0 is not in 1..=4096"),
        ("history --history short.toml", "give the file of a history to --history"),
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments}: {}", ran.err);
        assert!(ran.err.contains(why), "{arguments}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments}");
    }
}

#[test]
fn a_sweep_without_a_place_for_its_history_says_so_and_goes_on() {
    let place = Place::new();
    let mut command = place.command("sweep --scenario short.toml --seeds 0..1");
    let output = command.env_remove("XDG_STATE_HOME").env_remove("HOME").output().unwrap();
    let ran = crate::Ran::of(&output);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("no history is kept: neither XDG_STATE_HOME nor HOME is set"), "{}", ran.err);
}

#[test]
fn probes_that_were_never_hit_end_a_sweep_red_where_they_are_required() {
    let place = Place::new();
    let sweep = "sweep --scenario short.toml --seeds 0..2 --no-history";
    let ran = place.run(sweep);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("\nnever hit    ") && ran.out.contains("host-lost"), "{}", ran.out);
    let ran = place.run(&format!("{sweep} --require-probes"));
    assert_eq!(ran.code, Some(5));
    assert!(ran.err.contains("--require-probes: ") && ran.err.contains(" were never hit"), "{}", ran.err);
}
