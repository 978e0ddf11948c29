//! What VMs are made of, and what becomes of that.

use blixard_node::error::RequestError;
use blixard_node::spec::VmName;
use blixard_proto::error::status;
use expect_test::{Expect, expect};

use super::*;

impl Stage {
    fn payload(&self, name: &str) -> String {
        self.cluster.0.lock().unwrap().vms[name].spec.clone().unwrap().payload
    }

    /// As [`Stage::check`], with the folder's path left out.
    fn check_here(&self, args: &str, expected: Expect) {
        let folder = self.folder.path().canonicalize().unwrap().display().to_string();
        expected.assert_eq(&told(&self.command(args).output().unwrap()).replace(&folder, "HERE"));
    }
}

#[test]
fn a_vm_is_made_of_a_nix_file_or_a_flake() {
    let stage = Stage::new();
    stage.write("web.nix", "{ ... }: { }\n");
    stage.check(
        "vm create --config web.nix",
        expect![[r#"
            out: web: stopped for 0s
            exit: 0
        "#]],
    );
    assert_eq!(stage.payload("web"), "file = \"\"\"\n{ ... }: { }\n\"\"\"\n");
    stage.check(
        "vm create db --config web.nix --vcpus 2 --memory 2GiB --format json",
        expect![[r#"
        out: {
        out:   "name": "db",
        out:   "id": 9,
        out:   "phase": "stopped",
        out:   "reason": "",
        out:   "wanted": "stopped",
        out:   "deleting": false,
        out:   "node": null,
        out:   "epoch": null,
        out:   "last_node": null,
        out:   "generation": 1,
        out:   "observed_generation": 1,
        out:   "restarts": 0,
        out:   "since": "2096-10-02T07:06:40.000Z",
        out:   "artifact": null,
        out:   "spec": {
        out:     "vcpus": 2,
        out:     "memory_mib": 2048,
        out:     "hypervisor": "microvm-nix",
        out:     "restart": "always",
        out:     "failover": "move",
        out:     "local_volume": false,
        out:     "requires": {},
        out:     "ports": [],
        out:     "payload": "file = \"\"\"\n{ ... }: { }\n\"\"\"\n"
        out:   }
        out: }
        exit: 0
    "#]],
    );
    stage.check_here(
        "vm create --flake .#proxy",
        expect![[r#"
            out: proxy: stopped for 0s
            err: note: each host that runs the VM builds it from its own HERE; a git URL means the same everywhere
            exit: 0
        "#]],
    );
    stage.run("vm create other --flake git+https://example.org/vms#web");
    assert_eq!(stage.payload("other"), "flake = \"git+https://example.org/vms#web\"\n");
    stage.write(
        "flake.toml",
        "name = 'dns'\nmemory = 512\nports = ['53:53/udp']\n[microvm-nix]\nflake = 'path:.#dns'\n",
    );
    stage.check_here(
        "vm create --config flake.toml",
        expect![[r#"
            out: dns: stopped for 0s
            err: note: each host that runs the VM builds it from its own HERE; a git URL means the same everywhere
            exit: 0
        "#]],
    );
}

#[test]
fn wrong_sources_are_refused_before_anything_is_sent() {
    let stage = Stage::new();
    stage.write("My VM.nix", "{ }");
    stage.write("empty.nix", " ");
    stage.write("Web.nix", "{ }");
    stage.check(
        "vm create web",
        expect![[r#"
            err: error[BLX-CLI-001]: say what the VM is made of: --config FILE (TOML or .nix) or --flake REF#NAME
            exit: 2
        "#]],
    );
    stage.check(
        "vm create web --config vm.toml --flake .#web",
        expect![[r#"
        err: error: the argument '--config <FILE>' cannot be used with '--flake <REF[#NAME]>'
        err: 
        err: Usage: blixard vm create --config <FILE> --server <ADDR> <NAME>...
        err: 
        err: For more information, try '--help'.
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --config Web.nix",
        expect![[r#"
        err: error[BLX-CLI-001]: "Web", the file's name, is no VM name: add --name
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --config empty.nix",
        expect![[r#"
            err: error[BLX-CLI-001]: empty.nix: file is empty or holds a NUL byte: it is the text of a NixOS module
            exit: 2
        "#]],
    );
    stage.check(
        "vm create --config none.nix",
        expect![[r#"
        err: error[BLX-CLI-001]: none.nix cannot be read: No such file or directory (os error 2)
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --flake github:me/vms",
        expect![[r#"
        err: error[BLX-CLI-001]: the VM has no name: add --name, or #NAME to the flake
        exit: 2
    "#]],
    );
    stage.check(
        "vm create --flake github:me/vms#My_VM",
        expect![[r#"
        err: error[BLX-CLI-001]: "My_VM", the flake's configuration, is no VM name: add --name
        exit: 2
    "#]],
    );
    stage.check("vm create web --flake vms#web", expect![[r#"
        err: error[BLX-CLI-001]: flake "vms" is not absolute, and other hosts would look for it elsewhere: write github:OWNER/REPO, git+https://… or path:/FOLDER; `blixard vm create --flake` makes relative ones absolute
        exit: 2
    "#]]);
    std::fs::create_dir(stage.folder.path().join("vms")).unwrap();
    stage.check("vm create web --flake vms#web", expect![[r#"
        err: error[BLX-CLI-001]: vms is a name of nix's registry, which hosts do not share: for the folder write ./vms#web
        exit: 2
    "#]]);
    stage.check(
        "vm create web --config vm.toml --memory 2GiB",
        expect![[r#"
        err: error[BLX-CLI-001]: --vcpus and --memory are for .nix files and flakes: vm.toml says both itself
        exit: 2
    "#]],
    );
    stage.check("vm create web --config web.nix --memory 2GB", expect![[r#"
        err: error: invalid value '2GB' for '--memory <SIZE>': write a size such as 512MiB or 2GiB, or a whole number of MiB
        err: 
        err: For more information, try '--help'.
        exit: 2
    "#]]);
    stage.play(|play| assert!(play.ids.is_empty()));
}

#[test]
fn an_update_shows_what_changes() {
    let stage = Stage::new();
    stage.run("vm create web --config vm.toml");
    stage.check(
        "vm update web --config vm.toml",
        expect![[r#"
        out: web: nothing changes
        exit: 0
    "#]],
    );
    stage.write("vm.toml", "memory = 128\n[process]\ncommand = ['false']\n");
    stage.check(
        "vm update web --config vm.toml --dry-run",
        expect![[r#"
        out: web: would change
        out:   memory: 64MiB -> 128MiB
        out:   process.command: ["true"] -> ["false"]
        exit: 0
    "#]],
    );
    stage.check(
        "vm update web --config vm.toml --generation 7",
        expect![[r#"
        err: error[BLX-VM-003]: VM web is at generation 1, not at 7: look at it again, then repeat
        exit: 4
    "#]],
    );
    let stopped = RequestError::VmNotStopped { name: VmName::new("web").unwrap() };
    stage.play(|play| play.troubles = [status(&stopped)].into());
    stage.check(
        "vm update web --config vm.toml",
        expect![[r#"
        err: error[BLX-VM-008]: VM web is not stopped; stop it first: blixard vm stop web
        exit: 4
    "#]],
    );
    stage.check(
        "vm update web --config vm.toml --format json",
        expect![[r#"
        out: {
        out:   "name": "web",
        out:   "updated": true,
        out:   "generation": 2,
        out:   "changes": [
        out:     {
        out:       "field": "memory",
        out:       "before": "64MiB",
        out:       "after": "128MiB"
        out:     },
        out:     {
        out:       "field": "process.command",
        out:       "before": "[\"true\"]",
        out:       "after": "[\"false\"]"
        out:     }
        out:   ],
        out:   "packages": null
        out: }
        exit: 0
    "#]],
    );
    stage.check(
        "vm update none --config vm.toml",
        expect![[r#"
        err: error[BLX-VM-002]: there is no VM none; `blixard vm list` shows those there are
        exit: 3
    "#]],
    );
}
