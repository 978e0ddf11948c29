//! Runners as microvm.nix makes them, built by nix and run under supervisors, with real QEMU processes and the tiny guest of
//! `tests/guest`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration as StdDuration;

use blixard::hypervisor::microvm_nix::{MicrovmNix, Options};
use blixard::hypervisor::{Backends, Config, Sink, tool};
use blixard_node::hypervisor::{Done, HypervisorError, HypervisorRequest, Run};
use blixard_node::spec::VmSpec;
use blixard_runtime::hypervisor_conformance::Guest;

use crate::host::{self, Kind, Opens, RUN, entries, eventually, name};
use crate::store::{from, is_skipped, shared, write_flake_with};

const PROGRAMS: &[&str] = &["nix", "qemu-system-x86_64", "as", "ld", "truncate"];

type Host = host::Host<Nix>;

/// A host that runs what nix builds.
struct Nix {
    options: Options,
}

impl Opens for Nix {
    const PATIENCE: StdDuration = StdDuration::from_secs(60);

    fn new(folder: &Path) -> Self {
        let vms = folder.join("vms");
        write_flake_with(&vms, &runners(), RUNNERS);
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guest/build.sh");
        let built = Command::new("/bin/sh").arg(build).arg(vms.join("guest.elf")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { options: shared() }
    }

    fn open(&self, _: &Path, config: Config, sink: Sink) -> Backends {
        let backend = MicrovmNix::with(&config.state_dir, self.options.clone());
        Backends::with(config, sink, vec![Box::new(backend)]).unwrap()
    }
}

impl Kind for Nix {
    const TICK: &'static str = "GUEST-TICK";

    fn guest(host: &Host, guest: Guest) -> Option<VmSpec> {
        Some(match guest {
            Guest::Obedient => host.vm("obedient"),
            Guest::PowersOff => host.vm("off"),
            Guest::Crashes => host.vm("panics"),
            Guest::Broken => host.vm("broken"),
            Guest::Deaf => host.vm("hangs"),
        })
    }

    fn words(guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "the guest powered itself off",
            Guest::Crashes => "the guest panicked",
            _ => "",
        }
    }

    /// The runner becomes QEMU.
    fn is_vm(cmdline: &str) -> bool {
        cmdline.contains("qemu-system") || cmdline.contains("bin/microvm-run")
    }

    fn kept(host: &Host) -> Vec<String> {
        let folders = ["volumes", "nix"].map(|folder| entries(&host.state().join(folder)));
        let roots = entries(&host.state().join("nix")).into_iter().flat_map(|vm| entries(&vm.join("roots")));
        let mut kept: Vec<String> =
            folders.into_iter().flatten().chain(roots).map(|path| path.display().to_string()).collect();
        kept.sort();
        kept
    }
}

impl Host {
    fn vm(&self, name: &str) -> VmSpec {
        from(&format!("path:{}#{name}", self.folder().join("vms").display()))
    }

    /// The folder in which the VM of the run runs.
    fn workdir(&self, run: Run) -> PathBuf {
        self.state().join("volumes").join(name(run).as_str())
    }
}

/// The runners there are. Guests that end within their first milliseconds wait (`-S`) until QEMU is listened to, as no guest
/// with a kernel needs.
const RUNNERS: &str = r#"
    obedient = guest { name = "obedient"; };
    off = guest { name = "off"; cmdline = "do=p"; options = "-S"; };
    panics = guest { name = "panics"; cmdline = "do=k"; options = "-S"; };
    hangs = guest { name = "hangs"; cmdline = "do=h"; };
    signals = guest { name = "signals"; socket = false; };
    around = guest { name = "around"; files = around; };
    refused = guest { name = "refused"; files = "printf '#!/bin/sh\\necho no such bridge; exit 3\\n' > $out/bin/tap-up"; };
    asked = guest { name = "asked"; socket = false; files = asked; };
    broken = throw "no such configuration";
"#;

/// Makes runners with the files that those of microvm.nix have. Where they say so a volume is made at the first start, and
/// interfaces are brought up and down: here, noted in a file.
fn runners() -> String {
    let qemu = tool::find("qemu-system-x86_64").unwrap();
    let qemu = qemu.display();
    format!(
        r##"
  guest = {{ name, cmdline ? "", options ? "", socket ? true, files ? "" }}: runner "microvm-qemu-${{name}}" ''
    mkdir -p $out/bin $out/share/microvm
    echo qemu > $out/share/microvm/hypervisor
    cat > $out/bin/microvm-run <<'EOF'
    #!/bin/sh
    set -eu
    if [ ! -e data.img ]; then truncate -s 1M data.img; fi
    exec {qemu} -name ${{name}} -M microvm -accel tcg -cpu qemu64 -m 32 -nodefaults -no-user-config -no-reboot \
      -chardev stdio,id=stdio,signal=off -serial chardev:stdio -nographic \
      -kernel ${{./guest.elf}} -append "${{cmdline}}" -device pvpanic -action panic=exit-failure \
      -drive id=data,if=none,format=raw,file=data.img -device virtio-blk-device,drive=data ${{options}} \
      ${{if socket then "-qmp unix:vm.sock,server,nowait" else ""}}
    EOF
    ${{files}}
    chmod 755 $out/bin/*
  '';
  # Interfaces, and a daemon for a share. What listens at its socket is a QEMU without a machine.
  around = ''
    for way in up down; do
      printf '#!/bin/sh\necho %s >> seen\n' $way > $out/bin/tap-$way
    done
    cat > $out/bin/virtiofsd-run <<'EOF'
    #!/bin/sh
    sleep 0.5
    echo beside >> seen
    exec {qemu} -M none -nodefaults -nographic -chardev socket,id=fs,path=fs.sock,server=on,wait=off
    EOF
    mkdir -p $out/share/microvm/virtiofs/home
    echo fs.sock > $out/share/microvm/virtiofs/home/socket
    sed -i 's/^set -eu/set -eu; test -S fs.sock; echo run >> seen/' $out/bin/microvm-run
  '';
  # A hypervisor that Blixard does not speak with, and the program that asks it to end.
  asked = ''
    echo crosvm > $out/share/microvm/hypervisor
    printf '#!/bin/sh\necho asked >> seen; kill -TERM $MAINPID\n' > $out/bin/microvm-shutdown
  '';
"##
    )
}

#[test]
fn conforms() {
    if is_skipped(PROGRAMS) {
        return;
    }
    host::conforms::<Nix>();
}

#[test]
fn a_runner_runs_in_its_own_folder_and_a_stop_leaves_its_volume_alone() {
    if is_skipped(PROGRAMS) {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("obedient");
    let Ok(Done::Prepared { artifact: Some(artifact) }) = host.prepare(RUN, &spec) else {
        panic!("nothing is built")
    };
    host.start(RUN, &spec).unwrap();
    assert!(artifact.contains("-microvm-qemu-obedient from path:"), "{artifact}");
    eventually("the guest counts", || host.printed().contains("GUEST-TICK 00000003"));
    host.stop(RUN);
    host.assert_nothing_left();
    assert_eq!(fs::metadata(host.workdir(RUN).join("data.img")).unwrap().len(), 1 << 20);
}

#[test]
fn a_runner_without_a_control_socket_is_ended_by_signals() {
    if is_skipped(PROGRAMS) {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("signals");
    host.start(RUN, &spec).unwrap();
    eventually("the guest runs", || host.printed().contains("GUEST-READY"));
    host.stop(RUN);
    host.assert_nothing_left();
}

#[test]
fn its_interfaces_and_shares_come_before_it_and_go_after_it() {
    if is_skipped(PROGRAMS) {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("around");
    let seen = |host: &Host| fs::read_to_string(host.workdir(RUN).join("seen")).unwrap_or_default();
    for round in 1..=2 {
        host.start(RUN, &spec).unwrap();
        eventually("the guest counts", || host.printed().contains("GUEST-TICK"));
        host.stop(RUN);
        host.assert_nothing_left();
        assert_eq!(
            seen(&host),
            "up\nbeside\nrun\ndown\n".repeat(round),
            "also when sockets of before were there"
        );
        fs::write(host.workdir(RUN).join("fs.sock"), "").unwrap();
    }
    // Killed, it leaves as little.
    host.start(RUN, &spec).unwrap();
    assert_eq!(host.call(HypervisorRequest::Kill { run: RUN }), Ok(Done::Stopped));
    host.assert_nothing_left();
    assert!(seen(&host).ends_with("down\n"), "{}", seen(&host));
}

#[test]
fn an_interface_that_cannot_be_made_is_a_failed_start() {
    if is_skipped(PROGRAMS) {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("refused");
    match host.start(RUN, &spec) {
        Err(HypervisorError::Start { reason }) => {
            assert!(reason.contains("tap-up") && reason.contains("no such bridge"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    host.assert_nothing_left();
}

#[test]
fn a_hypervisor_that_is_not_spoken_with_is_asked_by_its_runner() {
    if is_skipped(PROGRAMS) {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("asked");
    host.start(RUN, &spec).unwrap();
    eventually("the guest counts", || host.printed().contains("GUEST-TICK"));
    host.stop(RUN);
    assert_eq!(fs::read_to_string(host.workdir(RUN).join("seen")).unwrap(), "asked\n");
    host.assert_nothing_left();
}
