//! What a VM file says, and what is said of a wrong one.

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expected: Expect) {
    match read("web.toml", text, Path::new("/home/me")) {
        Ok(file) => expected.assert_eq(&format!("{file:?}")),
        Err(error) => expected.assert_eq(&error.to_string()),
    }
}

#[test]
fn a_whole_file() {
    check(
        "name = 'web'\nvcpus = 2\nmemory = '2GiB'\nhypervisor = 'process'\nrestart = 'never'\nfailover = 'wait'\n\
         local_volume = true\n[requires]\nzone = 'a'\n[process]\ncommand = ['sleep', '9']\nenv = { A = 'b' }\n",
        expect![[
            r#"VmFile { name: Some("web"), spec: VmSpec { resources: Resources { vcpus: 2, memory_mib: 2048 }, requires: {"zone": "a"}, restart: Never, failover: Wait, local_volume: true, hypervisor: "process", payload: "command = [\"sleep\", \"9\"]\n\n[env]\nA = \"b\"\n", ports: [] } }"#
        ]],
    );
}

#[test]
fn a_short_file() {
    check(
        "memory = 64\nprocess.command = ['true']",
        expect![[
            r#"VmFile { name: None, spec: VmSpec { resources: Resources { vcpus: 1, memory_mib: 64 }, requires: {}, restart: Always, failover: Move, local_volume: false, hypervisor: "process", payload: "command = [\"true\"]\n", ports: [] } }"#
        ]],
    );
}

#[test]
fn complaints_have_a_place_and_a_remedy() {
    check(
        "memroy = 64\n[process]\ncommand = ['true']",
        expect![[r#"web.toml:1:1: unknown key "memroy"; did you mean "memory"?"#]],
    );
    check(
        "memory = 64\ncolour = 'red'\n[process]\ncommand = ['true']",
        expect![[
            r#"web.toml:2:1: unknown key "colour"; there are name, vcpus, memory, hypervisor, restart, failover, local_volume, ports, requires, process, qemu, microvm-nix, cloud-hypervisor"#
        ]],
    );
    check(
        "memory = 64\n[process]\ncomand = ['true']",
        expect![[r#"web.toml:3:1: unknown key "comand"; did you mean "command"?"#]],
    );
    check(
        "memory = '64MB'\n[process]\ncommand = ['true']",
        expect![[r#"web.toml:1:10: memory is a text such as "512MiB" or "2GiB", or a whole number of MiB"#]],
    );
    check(
        "vcpus = 0\nmemory = 64\n[process]\ncommand = ['true']",
        expect!["web.toml:1:9: vcpus is a whole number from 1 on, as in vcpus = 2"],
    );
    check(
        "memory = 64\nrestart = 'onfailure'\n[process]\ncommand = ['true']",
        expect![[
            r#"web.toml:2:11: restart is one of always, on-failure, never, not "onfailure"; did you mean "on-failure"?"#
        ]],
    );
    check(
        "memory = 64\nhypervisor = 'proces'\n[process]\ncommand = ['true']",
        expect![[
            r#"web.toml:2:14: hypervisor is one of process, qemu, microvm-nix, cloud-hypervisor, not "proces"; did you mean "process"?"#
        ]],
    );
    check(
        "memory = 64\nhypervisor = 'qemu'\n[process]\ncommand = ['true']",
        expect!["web.toml:1:1: the hypervisor is qemu, and its table [qemu] is missing"],
    );
    check(
        "memory = 64\n[process]\ncommand = ['true']\n[qemu]",
        expect![[r#"web.toml:4:2: there are tables of two backends: say which one with hypervisor = "…""#]],
    );
    check(
        "memory = 64\n",
        expect![[
            r#"web.toml:1:1: a backend's table is missing, as in [process] with command = ["sleep", "1000"]"#
        ]],
    );
    check(
        "[process]\ncommand = ['true']",
        expect![[
            r#"web.toml:1:1: memory is missing: memory is a text such as "512MiB" or "2GiB", or a whole number of MiB"#
        ]],
    );
    check(
        "memory = 64\n[process]\ncommand = 'true'",
        expect![[
            r#"web.toml:3:11: [process] cannot be taken: invalid type: string "true", expected a sequence"#
        ]],
    );
    check(
        "memory = 64\n[process]\ncommand = []",
        expect![[
            r#"web.toml:2:2: [process] cannot be taken: command is empty: name a program, as in command = ["sleep", "1000"]"#
        ]],
    );
    check(
        "memory = 64\n[requires]\nzone = 1\n[process]\ncommand = ['true']",
        expect![[r#"web.toml:3:8: the label zone needs a text in quotes, as in zone = "true""#]],
    );
    check("memory = \n", expect!["web.toml:1:10: string values must be quoted, expected literal string"]);
}

#[test]
fn ports_are_written_short_or_long() {
    let text = "memory = 64\nports = ['8080:80', '53:5353/udp', { host = 8443, guest = 443 },\n\
                { host = 54, guest = 54, protocol = 'udp' }]\n[process]\ncommand = ['true']";
    let ports = read("web.toml", text, Path::new("/home/me")).unwrap().spec.ports;
    let shown: Vec<String> =
        ports.iter().map(|port| format!("{}:{}/{}", port.host, port.guest, port.protocol)).collect();
    assert_eq!(shown, ["8080:80/tcp", "53:5353/udp", "8443:443/tcp", "54:54/udp"]);
}

#[test]
fn wrong_ports_have_a_place() {
    let check = |ports: &str, expected: Expect| {
        check(&format!("memory = 64\nports = {ports}\n[process]\ncommand = ['true']"), expected);
    };
    check(
        "'80:80'",
        expect![[
            r#"web.toml:2:9: ports is a list, as in ports = ["8080:80", "53:53/udp", { host = 8443, guest = 443 }]"#
        ]],
    );
    check(
        "[80]",
        expect![[
            r#"web.toml:2:10: a port is a text or a table, as in ports = ["8080:80", "53:53/udp", { host = 8443, guest = 443 }]"#
        ]],
    );
    check(
        "['80:80', '81']",
        expect![[
            r#"web.toml:2:19: "81" is no port: write HOST:GUEST, as in ports = ["8080:80", "53:53/udp", { host = 8443, guest = 443 }]"#
        ]],
    );
    check(
        "['+80:80']",
        expect![[
            r#"web.toml:2:10: "+80:80" is no port: write HOST:GUEST, as in ports = ["8080:80", "53:53/udp", { host = 8443, guest = 443 }]"#
        ]],
    );
    check(
        "['80:65536']",
        expect![[
            r#"web.toml:2:10: "80:65536" is no port: write HOST:GUEST, as in ports = ["8080:80", "53:53/udp", { host = 8443, guest = 443 }]"#
        ]],
    );
    check(
        "['80:80/sctp']",
        expect![[
            r#"web.toml:2:10: "80:80/sctp" is no port: write HOST:GUEST, as in ports = ["8080:80", "53:53/udp", { host = 8443, guest = 443 }]"#
        ]],
    );
    check("[{ host = 0, guest = 80 }]", expect!["web.toml:2:19: host is a port, from 1 to 65535"]);
    check(
        "[{ host = 80 }]",
        expect![[
            r#"web.toml:2:10: the port's guest is missing, as in ports = ["8080:80", "53:53/udp", { host = 8443, guest = 443 }]"#
        ]],
    );
    check(
        "[{ host = 80, gest = 80 }]",
        expect![[r#"web.toml:2:23: unknown key "gest"; did you mean "guest"?"#]],
    );
    check(
        "[{ host = 80, guest = 80, protocol = 'udb' }]",
        expect![[r#"web.toml:2:46: protocol is one of tcp, udp, not "udb"; did you mean "udp"?"#]],
    );
    check("['80:80', '80:81']", expect!["web.toml:2:19: the host's port 80/tcp is named twice"]);
}

#[test]
fn complaints_about_other_backends_have_a_place_too() {
    check(
        "memory = 64\n[qemu]\nkernel = '/k'\ncmdlin = 'x'",
        expect![[r#"web.toml:4:1: unknown key "cmdlin"; did you mean "cmdline"?"#]],
    );
    check(
        "memory = 64\n[qemu]\nkernel = '/k'\nnetwork = 'usr'",
        expect![
            "web.toml:4:11: [qemu] cannot be taken: unknown variant `usr`, expected one of `none`, `user`, `tap`, `bridge`"
        ],
    );
    check(
        "memory = 64\n[qemu]\nkernel = '/k'\ndisks = [{ volume = 'a', size = '1GB' }]",
        expect![[
            r#"web.toml:4:33: [qemu] cannot be taken: "1GB" is no size: write a whole number with KiB, MiB, GiB or TiB, as in "1GiB""#
        ]],
    );
    check(
        "memory = 64\n[qemu]\ncmdline = 'x'",
        expect!["web.toml:2:1: [qemu] cannot be taken: missing field `kernel`"],
    );
}

#[test]
fn what_stands_beside_the_file_is_found_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("web.nix"), "{ ... }: { }\n").unwrap();
    let read = |table: &str| {
        let text = format!("memory = 512\n[microvm-nix]\n{table}");
        read("web.toml", &text, folder.path()).map(|file| NixSpec::parse(&file.spec.payload).unwrap())
    };
    let module = NixSpec::File { text: "{ ... }: { }\n".into(), base: None };
    assert_eq!(read("file = 'web.nix'"), Ok(module.clone()));
    assert_eq!(read("file = '''\n{ ... }: { }\n'''"), Ok(module));
    let reference = folder.path().display().to_string();
    assert_eq!(
        read("flake = '.#web'"),
        Ok(NixSpec::Flake { reference, name: Some("web".into()), locked: None })
    );
    let error = read("file = 'none.nix'").unwrap_err();
    assert_eq!((error.line, error.column), (3, 8));
    assert!(error.message.contains("none.nix cannot be read: No such file"), "{}", error.message);
    std::fs::write(folder.path().join("long.nix"), " ".repeat(VmSpec::PAYLOAD_LEN_MAX + 1)).unwrap();
    let error = read("file = 'long.nix'").unwrap_err();
    assert!(error.message.contains("has more than 262144 bytes"), "{}", error.message);
}
