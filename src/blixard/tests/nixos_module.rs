//! The flake and its NixOS module, evaluated by nix with stand-ins for nixpkgs, so that it needs no network. Skipped, with a
//! line that says so, where nix is missing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::path::Path;
use std::process::{Command, Output};

use blixard::hypervisor::tool;
use serde_json::Value;

/// Where nix is; none, with a line, when it is missing.
fn nix() -> Option<std::path::PathBuf> {
    let nix = tool::find("nix-instantiate");
    if nix.is_none() {
        eprintln!("skipped: nix is not installed");
    }
    nix
}

/// Evaluates an attribute of `tests/nix/eval.nix`.
fn evaluate(nix: &Path, attribute: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/nix/eval.nix");
    let mut command = Command::new(nix);
    for (key, part) in
        [("NIX_STORE_DIR", "store"), ("NIX_STATE_DIR", "var"), ("NIX_LOG_DIR", "log"), ("HOME", "home")]
    {
        command.env(key, folder.path().join(part));
    }
    command.env("NIX_REMOTE", "").env("NIX_CONFIG", "build-users-group =");
    command.args(["--eval", "--strict", "--json", "-A", attribute]).arg(file).output().unwrap()
}

fn value(nix: &Path, attribute: &str) -> Value {
    let output = evaluate(nix, attribute);
    assert!(output.status.success(), "{attribute}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The arguments of the unit's program.
fn arguments(unit: &Value) -> Vec<&str> {
    let line = unit["serviceConfig"]["ExecStart"].as_str().unwrap();
    line.split(' ').collect()
}

#[test]
fn the_flake_has_what_it_says() {
    let Some(nix) = nix() else { return };
    let outputs = value(&nix, "outputs");
    for output in ["packages", "devShells", "nixosModules", "nixosConfigurations", "formatter"] {
        assert!(outputs.as_array().unwrap().iter().any(|name| name == output), "{output}: {outputs}");
    }
    let package = value(&nix, "package");
    assert_eq!(
        (&package["pname"], &package["version"]),
        (&"blixard".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!(package["missing"], serde_json::json!([]), "all that is built from is there");
    let shell = value(&nix, "shell").to_string();
    for tool in ["qemu", "nix", "binutils", "iproute2", "rustc", "cargo"] {
        assert!(shell.contains(&format!("/pkgs/{tool}\"")), "{tool}: {shell}");
    }
}

#[test]
fn the_example_host_finds_its_cluster_on_the_tailnet() {
    let Some(nix) = nix() else { return };
    let unit = value(&nix, "example");
    let expected = "/pkgs/blixard/bin/blixard node --id=1 --bind=100.64.0.1:7001 --data-dir=/var/lib/blixard --bootstrap --insecure \
                    --discover=tailscale:blixard --label=zone=attic";
    assert_eq!(arguments(&unit).join(" "), expected);
    assert!(unit["after"].to_string().contains("tailscaled.service"), "{unit}");
}

#[test]
fn vms_outlive_the_daemon_and_the_daemon_is_confined() {
    let Some(nix) = nix() else { return };
    let unit = value(&nix, "plain");
    let service = &unit["serviceConfig"];
    let expected = [
        // The VMs' supervisors are no part of the service's life.
        ("KillMode", Value::from("process")),
        ("Restart", "always".into()),
        ("OOMPolicy", "continue".into()),
        ("Delegate", true.into()),
        ("LimitNOFILE", 1_048_576.into()),
        // Hardening.
        ("NoNewPrivileges", true.into()),
        ("ProtectSystem", "strict".into()),
        ("ProtectHome", true.into()),
        ("CapabilityBoundingSet", "".into()),
        ("AmbientCapabilities", "".into()),
        ("DevicePolicy", "closed".into()),
        ("StateDirectory", "blixard".into()),
        ("StateDirectoryMode", "0700".into()),
        ("UMask", "0077".into()),
        ("User", "blixard".into()),
    ];
    for (key, expected) in expected {
        assert_eq!(service[key], expected, "{key}");
    }
    let devices = service["DeviceAllow"].to_string();
    assert!(!devices.contains("watchdog") && unit["udev"] == "", "{devices}");
    for device in ["/dev/kvm", "/dev/net/tun", "/dev/vhost-net"] {
        assert!(devices.contains(device), "{devices}");
    }
    for taken_away in ["PrivateTmp", "RemoveIPC", "PrivateDevices", "MemoryDenyWriteExecute"] {
        assert!(service.get(taken_away).is_none(), "VMs need what {taken_away} takes");
    }
    assert_eq!(arguments(&unit)[2..], ["--id=2", "--bind=127.0.0.1:7001", "--data-dir=/var/lib/blixard"]);
    assert_eq!(unit["environment"]["NIX_REMOTE"], "daemon");
    let path = unit["path"].to_string();
    assert!(
        path.contains("/pkgs/qemu_kvm") && path.contains("/pkgs/nix") && !path.contains("cloud-hypervisor"),
        "{path}"
    );
    assert_eq!(unit["firewall"], serde_json::json!([]));
    assert_eq!(unit["users"], serde_json::json!(["blixard"]));
}

#[test]
fn every_option_reaches_the_unit() {
    let Some(nix) = nix() else { return };
    let unit = value(&nix, "all");
    assert_eq!(
        arguments(&unit)[2..],
        [
            "--id=2",
            "--bind=10.0.0.2:7100",
            "--data-dir=/srv/blixard",
            "--advertise=two.example:7100",
            "--insecure",
            "--peer=1:10.0.0.1:7001",
            "--peer=10.0.0.3:7001",
            "--discover=dns:nodes.example:7001",
            "--discover=file:/etc/nodes",
            "--watchdog=/dev/watchdog0",
            "--vcpus=8",
            "--memory=4096",
            "--label=disk=ssd",
            "--label=zone=a",
            "--log-format=json",
        ]
    );
    let service = &unit["serviceConfig"];
    assert_eq!(service["AmbientCapabilities"], serde_json::json!(["CAP_NET_ADMIN"]));
    assert_eq!(service["CapabilityBoundingSet"], serde_json::json!(["CAP_NET_ADMIN"]));
    assert!(service["RestrictAddressFamilies"].to_string().contains("AF_NETLINK"));
    assert!(service["DeviceAllow"].to_string().contains("/dev/watchdog0 rw"));
    assert!(unit["udev"].as_str().unwrap().contains("GROUP=\"blixard\""));
    assert_eq!(service["ReadWritePaths"], serde_json::json!(["/srv/blixard"]));
    assert!(service.get("StateDirectory").is_none());
    assert_eq!(unit["tmpfiles"], serde_json::json!(["d /srv/blixard 0700 blixard blixard -"]));
    assert_eq!(unit["firewall"], serde_json::json!([7100]));
    assert_eq!(unit["environment"]["BLIXARD_NIX_BASE"], "github:me/base");
    assert_eq!(unit["environment"]["BLIXARD_NIX_TIMEOUT"], "45m");
    assert_eq!(unit["users"], serde_json::json!(["blixard", "microvm"]));
    let path = unit["path"].to_string();
    assert!(path.contains("/pkgs/cloud-hypervisor") && !path.contains("/pkgs/qemu_kvm"), "{path}");
}

#[test]
fn what_the_daemon_would_refuse_is_refused_when_the_system_is_built() {
    let Some(nix) = nix() else { return };
    for (attribute, words) in [
        ("badPeer", "services.blixard.peers"),
        ("badSource", "services.blixard.discover"),
        ("badHypervisor", "services.blixard.hypervisors"),
        ("badWatchdog", "services.blixard.watchdog"),
        ("badOption", "services.blixard has no option peer"),
    ] {
        let output = evaluate(&nix, attribute);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{attribute}: {said}");
    }
    assert_eq!(value(&nix, "off"), Value::from(false), "nothing without enable");
}

/// The flags in the unit are the daemon's own: it would not start with others.
#[test]
fn the_daemon_knows_every_flag_of_the_unit() {
    let Some(nix) = nix() else { return };
    let help = Command::new(env!("CARGO_BIN_EXE_blixard")).args(["node", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for attribute in ["all", "example"] {
        let unit = value(&nix, attribute);
        for argument in arguments(&unit).into_iter().filter(|argument| argument.starts_with("--")) {
            let flag = argument.split('=').next().unwrap();
            assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "{flag}");
        }
    }
}
