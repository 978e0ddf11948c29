//! VMs that are given as the text of a NixOS module: the flake around it, with a base that stands for microvm.nix and nixpkgs.

use std::fs;
use std::path::Path;

use blixard::hypervisor::backend::{Backend, Job};
use blixard::hypervisor::microvm_nix::{NixSpec, Options};
use blixard::hypervisor::run_dir::Control;
use blixard_node::spec::{Port, Protocol, Resources, VmSpec};

use crate::store::{Host, is_skipped, vm, web};

/// As much of a module system as the flake around a file asks for: the modules' attributes merged, defaults below the rest.
fn write_base(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let text = r#"{
  outputs = { self }: let
    isDefault = value: builtins.isAttrs value && value ? mkDefault;
    merge = a: b:
      if isDefault b then (if isDefault a || a == { } then b else a)
      else if builtins.isAttrs a && builtins.isAttrs b && !isDefault a then
        builtins.foldl' (sum: key: sum // { ${key} = merge (a.${key} or { }) b.${key}; }) a (builtins.attrNames b)
      else b;
    settle = value:
      if isDefault value then value.mkDefault
      else if builtins.isAttrs value && !(value ? type && value.type == "derivation") then builtins.mapAttrs (_: settle) value
      else value;
    lib.mkDefault = value: { mkDefault = value; };
    load = args: module:
      if builtins.isPath module then load args (import module)
      else if builtins.isFunction module then module args
      else module;
  in {
    nixosModules.microvm = { config, ... }: {
      microvm.declaredRunner = derivation {
        name = "microvm-qemu-${config.networking.hostName}";
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" ''
          export PATH=/usr/bin:/bin
          mkdir -p $out/bin
          echo "${toString config.microvm.vcpu} ${toString config.microvm.mem} ${builtins.toJSON (config.microvm.forwardPorts or [ ])}" > $out/bin/microvm-run
        '' ];
      };
    };
    lib.nixosSystem = { system, modules, specialArgs }: let
      args = specialArgs // { inherit lib; inherit (self) config; pkgs.htop = "htop"; };
      self.config = settle (builtins.foldl' merge { } (map (load args) modules));
    in self;
  };
}
"#;
    fs::write(folder.join("flake.nix"), text).unwrap();
}

fn host() -> (Host, String) {
    let host = Host::new();
    write_base(&host.folder.path().join("base"));
    let mut options = host.options.clone();
    options.base = format!("path:{}", host.folder.path().join("base").display());
    let base = options.base.clone();
    (Host { folder: host.folder, ..Host::with(options) }, base)
}

fn file(text: &str) -> VmSpec {
    VmSpec { resources: Resources { vcpus: 2, memory_mib: 512 }, ..vm(NixSpec::for_file(text)) }
}

/// What the runner of this stub says.
fn ran(path: &Path) -> String {
    fs::read_to_string(path.join("bin/microvm-run")).unwrap().trim().to_owned()
}

#[test]
fn a_module_gets_the_vms_resources_and_the_hosts_base() {
    if is_skipped(&["nix"]) {
        return;
    }
    let (host, base) = host();
    let built = host.prepare(&file("{ ... }: { }"), None).unwrap();
    assert_eq!(ran(&built.path), "2 512 []");
    assert!(built.path.display().to_string().ends_with("-microvm-qemu-web"), "named as the VM");
    assert!(built.locked.starts_with(&format!("{base}?narHash=")), "{}", built.locked);
    let built = host.prepare(&file("{ microvm.mem = 256; networking.hostName = \"other\"; }"), None).unwrap();
    assert_eq!(ran(&built.path), "2 256 []", "less is the module's to choose");
    assert!(built.path.display().to_string().ends_with("-microvm-qemu-other"));
}

#[test]
fn the_example_is_one() {
    if is_skipped(&["nix"]) {
        return;
    }
    let (host, _) = host();
    let ports = vec![Port { protocol: Protocol::Tcp, host: 8080, guest: 80 }];
    let spec = VmSpec { ports, ..file(include_str!("../../../../examples/microvm.nix")) };
    let built = host.prepare(&spec, None).unwrap();
    assert!(ran(&built.path).starts_with("2 512 [{"), "{}", ran(&built.path));
}

#[test]
fn a_module_that_wants_more_than_the_vm_has_is_refused() {
    if is_skipped(&["nix"]) {
        return;
    }
    let (host, _) = host();
    let error = host.prepare(&file("{ microvm.mem = 4096; }"), None).unwrap_err();
    let expected = "microvm.mem is 4096 and the VM was given 512 MiB of its host: give it more (memory)";
    assert!(error.contains(expected), "{error}");
    let error = host.prepare(&file("{ microvm.vcpu = 3; }"), None).unwrap_err();
    assert!(error.contains("microvm.vcpu is 3 and the VM was given 2"), "{error}");
    let error = host.prepare(&file("{ nonsense"), None).unwrap_err();
    assert!(error.starts_with("the configuration cannot be evaluated: syntax error"), "{error}");
    assert!(error.contains("vm.nix"), "{error}");
}

#[test]
fn its_ports_are_forwarded_by_its_user_network() {
    if is_skipped(&["nix"]) {
        return;
    }
    let (host, _) = host();
    let ports = vec![Port { protocol: Protocol::Tcp, host: 8080, guest: 80 }];
    let with = |text: &str| VmSpec { ports: ports.clone(), ..file(text) };
    let error = host.prepare(&with("{ }"), None).unwrap_err();
    assert!(error.contains("the VM has ports and no interface that forwards them"), "{error}");
    let built = host.prepare(&with("{ microvm.interfaces = [ { type = \"user\"; } ]; }"), None).unwrap();
    assert!(
        ran(&built.path).starts_with("2 512 [{") && ran(&built.path).contains("port:8080"),
        "{}",
        ran(&built.path)
    );
}

#[test]
fn any_host_builds_it_whatever_its_own_base_is() {
    if is_skipped(&["nix"]) {
        return;
    }
    let (first, base) = host();
    let spec = file("{ }");
    let pinned = first.prepare(&spec, None).unwrap();
    // Another state folder, and a base of its own that is not even there.
    let second = Host::new();
    let built = second.prepare(&spec, Some(&pinned.told().unwrap())).unwrap();
    assert_eq!(built, pinned);
    // By building, when it is not in the store yet: the pin says of which base.
    let mut moved = pinned.clone();
    moved.path = pinned.path.with_file_name("00000000000000000000000000000000-microvm-web");
    let error = second.prepare(&spec, Some(&moved.told().unwrap())).unwrap_err();
    assert!(error.contains(&pinned.path.display().to_string()) && error.contains(&base), "{error}");
    assert!(second.prepare(&spec, None).unwrap_err().contains("/no/base"));
    // A base in the spec goes before the host's.
    let named = VmSpec { payload: format!("{}base = '{base}'\n", spec.payload), ..spec };
    assert_eq!(second.prepare(&named, None).unwrap(), pinned);
    let plan = second.backend.plan(Job { name: &web(), spec: &named, artifact: None }).unwrap();
    assert_eq!(plan.command, [pinned.path.join("bin/microvm-run").display().to_string()]);
}

#[test]
#[ignore = "needs a network, and builds a NixOS system with this host's own nix"]
fn the_example_builds_with_the_real_microvm_nix() {
    if is_skipped(&["nix"]) {
        return;
    }
    let host = Host::with(Options::of_host().unwrap());
    let ports = vec![Port { protocol: Protocol::Tcp, host: 8080, guest: 80 }];
    let spec = VmSpec { ports, ..file(include_str!("../../../../examples/microvm.nix")) };
    let built = host.prepare(&spec, None).unwrap();
    assert!(built.path.display().to_string().ends_with("-microvm-qemu-web"), "{}", built.path.display());
    let plan = host.backend.plan(Job { name: &web(), spec: &spec, artifact: None }).unwrap();
    assert_eq!(plan.control, Control::Qmp { listens_at: Some(host.state().join("volumes/web/web.sock")) });
    let script = fs::read_to_string(built.path.join("bin/microvm-run")).unwrap();
    for words in ["-m 512", "-smp 2", "hostfwd=tcp:127.0.0.1:8080-:80"] {
        assert!(script.contains(words), "{words}: {script}");
    }
}
