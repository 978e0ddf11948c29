//! The flake around a NixOS module that a VM is given as a file.

use blixard_node::spec::{Port, Protocol, Resources, VmName};

/// The configuration's name in the flake.
pub(super) const CONFIGURATION: &str = "vm";

/// The module's file beside `flake.nix`.
pub(super) const MODULE: &str = "vm.nix";

/// The text of `flake.nix`. `base` is a locked reference. All hosts write the same for the same VM, so that they build the
/// same.
pub(super) fn flake(name: &VmName, resources: Resources, ports: &[Port], base: &str) -> String {
    let Resources { vcpus, memory_mib } = resources;
    let system = format!("{}-linux", std::env::consts::ARCH);
    let forward = |Port { host, guest, protocol }: &Port| {
        let proto = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        format!(
            "\n            {{ from = \"host\"; proto = \"{proto}\"; host.address = \"127.0.0.1\"; host.port = {host}; guest.port = {guest}; }}"
        )
    };
    let forwards: String = ports.iter().map(forward).collect();
    let (forwards, wants_user) = if ports.is_empty() {
        (String::new(), "false")
    } else {
        (format!("\n          microvm.forwardPorts = [{forwards}\n          ];"), "true")
    };
    format!(
        r#"# Written by Blixard for the VM {name}; the same on every host.
{{
  inputs.base.url = "{base}";

  outputs = {{ self, base }}:
    let
      nixosSystem = base.lib.nixosSystem or base.inputs.nixpkgs.lib.nixosSystem;
      vm = nixosSystem {{
        system = "{system}";
        specialArgs.inputs = base.inputs;
        modules = [
          base.nixosModules.microvm
          ./{MODULE}
          ({{ lib, ... }}: {{
            networking.hostName = lib.mkDefault "{name}";
            microvm.vcpu = lib.mkDefault {vcpus};
            microvm.mem = lib.mkDefault {memory_mib};{forwards}
          }})
        ];
      }};
      inherit (vm.config) microvm;
      hasUser = builtins.any (interface: interface.type == "user") (microvm.interfaces or [ ]);
    in
    {{
      nixosConfigurations.{CONFIGURATION} =
        if microvm.mem > {memory_mib} then
          throw "microvm.mem is ${{toString microvm.mem}} and the VM was given {memory_mib} MiB of its host: give it more (memory), or leave microvm.mem out"
        else if microvm.vcpu > {vcpus} then
          throw "microvm.vcpu is ${{toString microvm.vcpu}} and the VM was given {vcpus} of its host: give it more (vcpus), or leave microvm.vcpu out"
        else if {wants_user} && !hasUser then
          throw "the VM has ports and no interface that forwards them: add microvm.interfaces = [ {{ type = \"user\"; id = \"usernet\"; mac = \"02:00:00:00:00:01\"; }} ], or leave ports out"
        else
          vm;
    }};
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_flake_says_base_resources_and_ports() {
        let name = VmName::new("web").unwrap();
        let resources = Resources { vcpus: 2, memory_mib: 512 };
        let ports = [
            Port { protocol: Protocol::Tcp, host: 8080, guest: 80 },
            Port { protocol: Protocol::Udp, host: 5353, guest: 53 },
        ];
        let text = flake(&name, resources, &ports, "github:a/b/c0ffee");
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| {
                ["url", "microvm.", "host.port", "mkDefault"].iter().any(|word| line.contains(word))
            })
            .filter(|line| !line.contains("throw") && !line.contains("if "))
            .map(str::trim)
            .collect();
        expect![[r#"
            inputs.base.url = "github:a/b/c0ffee";
            networking.hostName = lib.mkDefault "web";
            microvm.vcpu = lib.mkDefault 2;
            microvm.mem = lib.mkDefault 512;
            microvm.forwardPorts = [
            { from = "host"; proto = "tcp"; host.address = "127.0.0.1"; host.port = 8080; guest.port = 80; }
            { from = "host"; proto = "udp"; host.address = "127.0.0.1"; host.port = 5353; guest.port = 53; }
            hasUser = builtins.any (interface: interface.type == "user") (microvm.interfaces or [ ]);"#]]
        .assert_eq(&lines.join("\n"));
        assert!(!flake(&name, resources, &[], "github:a/b").contains("forwardPorts"));
    }
}
