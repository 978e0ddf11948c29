//! Each kind of failure, made by a real nix, is told from the others in words that help.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::store::{Host, from, is_skipped, vm};

fn failing(configuration: &str) -> String {
    let host = Host::new();
    let flake = host.flake("vms", configuration);
    host.prepare(&from(&format!("{flake}#web")), None).unwrap_err()
}

#[test]
fn an_expression_that_is_wrong() {
    if is_skipped(&["nix"]) {
        return;
    }
    let error = failing("web = plain \"microvm-web\" undefinedThing;");
    let start = "the configuration cannot be evaluated: undefined variable 'undefinedThing'\nat ";
    assert!(error.starts_with(start) && !error.contains('\u{1b}'), "{error}");
    let error = failing("web.config.microvm.declaredRunner = throw \"memory is too small\";");
    assert!(error.starts_with("the configuration cannot be evaluated: memory is too small"), "{error}");
    let error = failing("wbe = plain \"microvm-web\" \"\";");
    assert!(error.contains("does not provide attribute") && error.contains("web"), "{error}");
}

#[test]
fn a_builder_that_fails_with_its_last_words() {
    if is_skipped(&["nix"]) {
        return;
    }
    let error = failing("web = runner \"microvm-web\" \"echo compiling; echo no such header; exit 7\";");
    assert!(error.starts_with("a build failed: builder for '"), "{error}");
    assert!(error.contains("failed with exit code 7") && error.ends_with("> no such header"), "{error}");
}

#[test]
fn a_disk_that_is_full() {
    if is_skipped(&["nix"]) {
        return;
    }
    let error = failing("web = runner \"microvm-web\" \"cat /dev/zero > /dev/full\";");
    assert!(error.starts_with("no space is left for nix: free some"), "{error}");
    assert!(error.contains("No space left on device"), "{error}");
}

#[test]
fn what_is_built_is_a_runner() {
    if is_skipped(&["nix"]) {
        return;
    }
    let error = failing("web = runner \"microvm-web\" \"mkdir $out\";");
    assert!(error.contains("it is no runner of microvm.nix"), "{error}");
}

#[test]
fn a_flake_that_is_not_there() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::new();
    let error = host.prepare(&from("path:/no/such/folder#web"), None).unwrap_err();
    assert!(error.starts_with("a flake cannot be fetched: "), "{error}");
    let error = host.prepare(&vm("flake = '.#web'".into()), None).unwrap_err();
    assert!(error.contains("is not absolute"), "{error}");
}

#[test]
fn inputs_that_are_not_locked() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::new();
    let lib = host.flake("lib", "");
    let folder = host.folder.path().join("vms");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "{{ inputs.lib.url = \"{lib}\"; outputs = {{ self, lib }}: {{ nixosConfigurations.web = lib; }}; }}"
    );
    std::fs::write(folder.join("flake.nix"), text).unwrap();
    let error = host.prepare(&from(&format!("path:{}#web", folder.display())), None).unwrap_err();
    assert!(error.starts_with("the flake's inputs are not locked"), "{error}");
}

#[test]
fn a_working_tree_with_changes() {
    if is_skipped(&["nix", "git"]) {
        return;
    }
    let host = Host::new();
    host.flake("vms", "web = plain \"microvm-web\" \"\";");
    let folder = host.folder.path().join("vms");
    for args in [&["init", "-q"][..], &["add", "."]] {
        assert!(
            std::process::Command::new("git").arg("-C").arg(&folder).args(args).status().unwrap().success()
        );
    }
    let error = host.prepare(&from(&format!("{}#web", folder.display())), None).unwrap_err();
    assert!(error.contains("has changes that are not committed") && error.contains("path:"), "{error}");
    host.prepare(&from(&format!("path:{}#web", folder.display())), None).unwrap();
}

/// Living processes whose command line holds `mark`.
fn living(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

#[test]
fn a_build_that_takes_too_long_is_ended_with_its_builders() {
    if is_skipped(&["nix"]) {
        return;
    }
    let mut host = Host::new();
    host.options.patience = Duration::from_millis(1_500);
    let host = Host { folder: host.folder, ..Host::with(host.options) };
    // Another number for each run: what failed by its time alone is not remembered, but a builder of another run is not ours.
    let mark = format!("1000.{}", std::process::id());
    let flake = host.flake("vms", &format!("web = runner \"microvm-web\" \"sleep {mark}\";"));
    let begun = Instant::now();
    let error = host.prepare(&from(&format!("{flake}#web")), None).unwrap_err();
    assert!(error.contains("was not done after") || error.contains("timed out after"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let until = Instant::now() + Duration::from_secs(10);
    while living(&mark) > 0 {
        assert!(Instant::now() < until, "its builder lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_lock_that_others_hold() {
    if is_skipped(&["nix"]) {
        return;
    }
    let (first, second) = (Host::new(), Host::new());
    let free = first.folder.path().join("free");
    let script = format!(
        "until [ -e {} ]; do sleep 0.1; done; mkdir -p $out/bin; echo > $out/bin/microvm-run",
        free.display()
    );
    let reference = first.flake("vms", &format!("web = runner \"microvm-web\" \"{script}\";"));
    let spec = from(&format!("{reference}#web"));
    let mut options = second.options;
    options.patience = Duration::from_secs(4);
    let second = Host::with(options);
    std::thread::scope(|scope| {
        let building = scope.spawn(|| first.prepare(&spec, None));
        let until = Instant::now() + Duration::from_secs(20);
        while living(&free.display().to_string()) == 0 {
            assert!(Instant::now() < until, "it does not build");
            std::thread::sleep(Duration::from_millis(20));
        }
        let error = second.prepare(&spec, None);
        std::fs::write(&free, "").unwrap();
        let error = error.unwrap_err();
        assert!(error.starts_with("another nix held a lock for "), "{error}");
        building.join().unwrap().unwrap();
    });
}

#[test]
fn a_nix_that_is_missing_or_has_no_daemon() {
    if is_skipped(&["nix"]) {
        return;
    }
    let mut host = Host::new();
    let flake = host.flake("vms", "web = plain \"microvm-web\" \"\";");
    let spec = from(&format!("{flake}#web"));
    let mut options = host.options.clone();
    options.env.insert("NIX_REMOTE".into(), "unix:///no/such/socket".into());
    host = Host { folder: host.folder, ..Host::with(options) };
    let error = host.prepare(&spec, None).unwrap_err();
    assert!(error.starts_with("nix's store cannot be used: see that nix-daemon runs"), "{error}");
    host.options.programs = Some(PathBuf::from("/no/such"));
    host = Host { folder: host.folder, ..Host::with(host.options) };
    let error = host.prepare(&spec, None).unwrap_err();
    assert!(error.starts_with("/no/such/nix cannot be run: "), "{error}");
}
