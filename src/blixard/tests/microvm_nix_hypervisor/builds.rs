//! What is built is pinned, the same on every host, and kept while it is used.

use std::fs;
use std::path::Path;
use std::process::Command;

use blixard::hypervisor::backend::{Backend, Job};
use blixard::hypervisor::microvm_nix::{diff_closures, preview, settle};
use blixard::hypervisor::run_dir::Control;
use blixard_node::spec::VmSpec;

use crate::store::{Host, from, is_skipped, nix, options, web, write_flake};

#[test]
fn a_flake_is_built_pinned_and_planned() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::new();
    let flake =
        host.flake("vms", "web = plain \"microvm-qemu-web\" \"exec qemu -qmp unix:web.sock,server,nowait\";");
    // The configuration is the one that is named as the VM.
    let spec = from(&flake);
    let built = host.prepare(&spec, None).unwrap();
    assert!(built.path.join("bin/microvm-run").exists());
    assert!(built.path.starts_with(&host.options.env["NIX_STORE_DIR"]));
    let start = format!("{flake}?narHash=sha256-");
    assert!(built.locked.starts_with(&start) && !built.locked.contains("lastModified"), "{}", built.locked);
    // Again, and by its pin: the same.
    assert_eq!(host.prepare(&spec, None).unwrap(), built);
    assert_eq!(host.prepare(&spec, Some(&built.told().unwrap())).unwrap(), built);
    let text = built.told().unwrap();
    let plan = host.backend.plan(Job { name: &web(), spec: &spec, artifact: Some(&text) }).unwrap();
    assert_eq!(plan.command, [built.path.join("bin/microvm-run").display().to_string()]);
    let workdir = host.state().join("volumes/web");
    assert_eq!(plan.workdir, workdir);
    assert_eq!(plan.control, Control::Qmp { listens_at: Some(workdir.join("web.sock")) });
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode(&workdir) & 0o777, 0o700);
    assert_eq!(mode(&host.state().join("nix/web")) & 0o777, 0o700);
}

#[test]
fn a_host_that_comes_later_builds_what_the_first_one_built() {
    if is_skipped(&["nix", "git"]) {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    let first = Host::with(options(store.path()));
    let folder = first.folder.path().join("repo");
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args(["-C", &folder.display().to_string(), "-c", "user.name=a", "-c", "user.email=a@b"])
            .args(args)
            .output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    write_flake(&folder, "web = plain \"microvm-web\" \"first\";");
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    let spec = from(&format!("git+file://{}?ref=main#web", folder.display()));
    let pinned = first.prepare(&spec, None).unwrap();
    assert!(pinned.locked.contains("rev="), "{}", pinned.locked);
    write_flake(&folder, "web = plain \"microvm-web\" \"second\";");
    git(&["commit", "-q", "-a", "-m", "second"]);
    // The next host has nothing of it in its store or its cache, and finds a branch that has moved.
    first.backend.purge(&web()).unwrap();
    nix(&first.options, "nix-store", &["--gc"]);
    fs::remove_dir_all(&first.options.env["XDG_CACHE_HOME"]).unwrap();
    assert!(!pinned.path.exists());
    let second = Host::with(first.options);
    assert_eq!(second.prepare(&spec, Some(&pinned.told().unwrap())).unwrap(), pinned);
    assert_eq!(fs::read_to_string(pinned.path.join("bin/microvm-run")).unwrap(), "first\n");
    let unpinned = second.prepare(&spec, None).unwrap();
    assert_ne!(unpinned.path, pinned.path, "without a pin the branch decides");
}

#[test]
fn a_pin_that_cannot_be_met_is_refused_with_both_paths() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::new();
    let flake = host.flake("vms", "web = plain \"microvm-web\" \"x\";");
    let spec = from(&flake);
    let built = host.prepare(&spec, None).unwrap();
    let mut other = built.clone();
    other.path = built.path.with_file_name("00000000000000000000000000000000-microvm-web");
    let error = host.prepare(&spec, Some(&other.told().unwrap())).unwrap_err();
    let (one, two) = (built.path.display().to_string(), other.path.display().to_string());
    assert!(error.contains(&one) && error.contains(&two), "{error}");
    let error = host.prepare(&spec, Some("/nix/store/x")).unwrap_err();
    assert!(error.contains("is no build of microvm-nix"), "{error}");
}

#[test]
fn a_folder_that_has_changed_is_not_taken_for_what_was_pinned() {
    if is_skipped(&["nix"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let host = Host::with(options(folder.path()));
    let flake = host.flake("vms", "web = plain \"microvm-web\" \"one\";");
    let spec = from(&flake);
    let pinned = host.prepare(&spec, None).unwrap();
    host.backend.purge(&web()).unwrap();
    nix(&host.options, "nix-store", &["--gc"]);
    assert!(!pinned.path.exists());
    host.flake("vms", "web = plain \"microvm-web\" \"two\";");
    let error = host.prepare(&spec, Some(&pinned.told().unwrap())).unwrap_err();
    assert!(error.starts_with("a flake cannot be fetched: NAR hash mismatch"), "{error}");
    host.flake("vms", "web = plain \"microvm-web\" \"one\";");
    assert_eq!(host.prepare(&spec, Some(&pinned.told().unwrap())).unwrap(), pinned);
}

#[test]
fn what_is_assigned_survives_a_collection_and_a_purge_frees_it() {
    if is_skipped(&["nix"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let host = Host::with(options(folder.path()));
    let flake =
        host.flake("vms", "web = plain \"microvm-web-1\" \"one\"; next = plain \"microvm-web-2\" \"two\";");
    let first = host.prepare(&from(&flake), None).unwrap();
    let collect = || nix(&host.options, "nix-store", &["--gc"]);
    collect();
    assert!(first.path.exists(), "it is assigned");
    // A run that has not ended keeps what it runs, whatever is prepared after it.
    let run = host.state().join("runs/vm7.e3.0123abcd");
    fs::create_dir_all(&run).unwrap();
    fs::write(
        run.join("record.json"),
        format!("{{\"command\": [\"{}/bin/microvm-run\"]}}", first.path.display()),
    )
    .unwrap();
    let second = host.prepare(&from(&format!("{flake}#next")), None).unwrap();
    collect();
    assert!(first.path.exists() && second.path.exists());
    fs::remove_dir_all(&run).unwrap();
    host.prepare(&from(&format!("{flake}#next")), Some(&second.told().unwrap())).unwrap();
    collect();
    assert!(!first.path.exists(), "nothing needs it any more");
    assert!(second.path.exists());
    host.backend.purge(&web()).unwrap();
    host.backend.purge(&web()).unwrap();
    collect();
    assert!(!second.path.exists());
    assert!(!host.state().join("nix/web").exists() && !host.state().join("volumes/web").exists());
}

#[test]
fn a_change_is_told_before_it_is_made() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::new();
    let flake = host.flake(
        "vms",
        "old = plain \"microvm-qemu-web-1.0\" \"one\"; new = plain \"microvm-qemu-web-2.0\" \"two\";\n\
         bad = throw \"no such thing\";",
    );
    let named = |name: &str| from(&format!("{flake}#{name}"));
    let (old, new) = (named("old"), named("new"));
    let (one, two) = (host.prepare(&old, None).unwrap(), host.prepare(&new, None).unwrap());
    let diff = diff_closures(&host.options, &one.path, &two.path).unwrap();
    assert_eq!(diff, "microvm-qemu-web: 1.0 → 2.0");
    assert_eq!(diff_closures(&host.options, &one.path, &one.path).unwrap(), "");
    let pinned = one.told().unwrap();
    let told = |new: &VmSpec| preview(&host.options, &web(), (&old, Some(&pinned)), new);
    let expected = format!("- {}\n+ {}\n{diff}\n", one.path.display(), two.path.display());
    assert_eq!(told(&new).unwrap(), expected);
    assert_eq!(told(&old).unwrap(), format!("nothing changes: {}\n", one.path.display()));
    let error = told(&named("bad")).unwrap_err();
    assert!(
        error.starts_with("what it would become cannot be built here: ") && error.contains("no such thing"),
        "{error}"
    );
    let mut process = new;
    process.hypervisor = "process".into();
    assert!(told(&process).unwrap_err().contains("not of process"));
}

#[test]
fn an_update_takes_what_a_reference_means_now() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::new();
    let flake = host.flake("vms", "web = plain \"microvm-web\" \"one\";");
    let named = || from(&format!("{flake}#web"));
    let old = named();
    let one = host.prepare(&old, None).unwrap();
    let pinned = one.told().unwrap();
    let settled = |old: &VmSpec| {
        let mut new = named();
        settle(&host.options, (old, Some(&pinned)), &mut new).unwrap();
        new
    };
    assert_eq!(settled(&old), old, "it has not moved");
    host.flake("vms", "web = plain \"microvm-web\" \"two\";");
    let new = settled(&old);
    assert!(new.payload.contains("locked = \"path:/"), "{}", new.payload);
    assert_eq!(settled(&new), new, "nor since then");
    let told = preview(&host.options, &web(), (&old, Some(&pinned)), &new).unwrap();
    let two = host.prepare(&new, None).unwrap();
    assert!(told.contains(&two.path.display().to_string()), "{told}");
    assert!(new.payload.contains(&two.locked) && one.path != two.path);
    // What is settled stays, whatever the reference means by the time that a host builds it.
    host.flake("vms", "web = plain \"microvm-web\" \"three\";");
    assert_eq!(Host::with(host.options.clone()).prepare(&new, None).unwrap(), two);
    let mut gone = from("path:/no/such/folder#web");
    let before = gone.clone();
    assert!(
        settle(&host.options, (&old, None), &mut gone).unwrap_err().starts_with("a flake cannot be fetched")
    );
    assert_eq!(gone, before);
}

#[test]
fn the_probe_says_what_builds_and_where() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::new();
    let told = host.backend.probe().unwrap();
    let store = &host.options.env["NIX_STORE_DIR"];
    assert!(told.starts_with("nix (Nix) 2.") && told.contains(&format!("builds into {store}")), "{told}");
    let mut options = host.options.clone();
    options.programs = Some(host.folder.path().into());
    let error = Host::with(options).backend.probe().unwrap_err();
    assert!(error.contains("nix cannot be run: No such file"), "{error}");
}
