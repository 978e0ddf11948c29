//! Runners as microvm.nix makes them, built by nix and run under supervisors, with real QEMU processes and the tiny guest of
//! `tests/guest`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration as StdDuration;

use blixard::hypervisor::microvm_nix::{MicrovmNix, Options};
use blixard::hypervisor::{Backends, Config, Sink, tool};
use blixard::supervise::boot_time;
use blixard_node::hypervisor::{Done, HypervisorError, HypervisorRequest, Run};
use blixard_node::ids::{Epoch, OpId, VmId};
use blixard_node::input::Input;
use blixard_node::spec::{VmName, VmSpec};
use blixard_node::time::{Duration, Time};
use blixard_runtime::Hypervisor;
use blixard_runtime::hypervisor_conformance::{Bench, Guest, conformance_part};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::store::{from, is_skipped, shared, write_flake_with};

const RUN: Run = Run { vm: VmId(7), epoch: Epoch(3) };
const LEASE: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(20);

/// Conformance cases at a time.
const PARTS: usize = 4;

const PROGRAMS: &[&str] = &["nix", "qemu-system-x86_64", "as", "ld", "truncate"];

/// A host that runs what nix builds.
struct Host {
    folder: TempDir,
    options: Options,
    backends: Option<Backends>,
    inputs: Receiver<Input>,
    op: u64,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vms = folder.path().join("vms");
        write_flake_with(&vms, &runners(), RUNNERS);
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guest/build.sh");
        let built = Command::new("/bin/sh").arg(build).arg(vms.join("guest.elf")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let options = shared();
        let (backends, inputs) = open(folder.path(), &options);
        Self { folder, options, backends: Some(backends), inputs, op: 0 }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn vm(&self, name: &str) -> VmSpec {
        from(&format!("path:{}#{name}", self.folder.path().join("vms").display()))
    }

    fn call(&mut self, request: HypervisorRequest) -> Result<Done, HypervisorError> {
        self.op += 1;
        let op = OpId(self.op);
        self.backends.as_mut().unwrap().submit(op, request);
        match self.inputs.recv_timeout(StdDuration::from_secs(60)).unwrap() {
            Input::HypervisorDone { op: done, result } if done == op => result,
            other => panic!("{other:?}"),
        }
    }

    /// Prepares and starts, as an agent does: what was built is agreed upon in between.
    fn start(&mut self, run: Run, spec: &VmSpec) -> Result<String, HypervisorError> {
        let (name, spec) = (name(run), Arc::new(spec.clone()));
        let prepare =
            HypervisorRequest::Prepare { run, name: name.clone(), spec: Arc::clone(&spec), artifact: None };
        let Done::Prepared { artifact: Some(artifact) } = self.call(prepare)? else {
            panic!("prepared, and nothing was built");
        };
        let deadline = Time(boot_time()) + LEASE;
        let pinned = Some(artifact.clone());
        let start = HypervisorRequest::Start { run, name, spec, artifact: pinned, deadline };
        assert_eq!(self.call(start)?, Done::Started);
        Ok(artifact)
    }

    fn stop(&mut self, run: Run) {
        assert_eq!(self.call(HypervisorRequest::Stop { run, grace: GRACE }), Ok(Done::Stopped));
    }

    /// What the guest of the only run has printed so far.
    fn printed(&self) -> String {
        let runs = fs::read_dir(self.state().join("runs")).unwrap();
        let outputs = runs.filter_map(|dir| fs::read_to_string(dir.ok()?.path().join("output")).ok());
        outputs.collect()
    }

    /// The folder in which the VM of the run runs.
    fn workdir(&self, run: Run) -> PathBuf {
        self.state().join("volumes").join(name(run).as_str())
    }

    /// What is left of runs: processes, sockets, locks.
    fn rest(&self) -> Vec<String> {
        let tokens = tokens(&self.state(), "");
        let of_runs = |environ: &str| tokens.iter().any(|token| environ.contains(token.as_str()));
        let folder = self.folder.path().display().to_string();
        let living = processes(|environ, cmdline| of_runs(environ) || cmdline.contains(&folder));
        let mut left: Vec<String> = living.into_iter().map(|pid| format!("process {pid}")).collect();
        left.extend(entries(&self.state().join("locks")).iter().map(|path| path.display().to_string()));
        let folders = ["runs", "volumes"].map(|folder| entries(&self.state().join(folder)));
        let files = folders.iter().flatten().flat_map(|folder| entries(folder));
        let sockets =
            files.filter(|path| path.symlink_metadata().is_ok_and(|data| data.file_type().is_socket()));
        left.extend(sockets.map(|path| path.display().to_string()));
        left
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.backends = None;
        let tokens = tokens(&self.state(), "");
        for pid in processes(|environ, _| tokens.iter().any(|token| environ.contains(token.as_str()))) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
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

fn open(folder: &Path, options: &Options) -> (Backends, Receiver<Input>) {
    let (sender, inputs) = channel();
    let sink: Sink = Arc::new(move |input| {
        let _ = sender.send(input);
    });
    let state = folder.join("state");
    let backend = MicrovmNix::with(&state, options.clone());
    let config = Config { state_dir: state, program: PathBuf::from(env!("CARGO_BIN_EXE_blixard")) };
    (Backends::with(config, sink, vec![Box::new(backend)]).unwrap(), inputs)
}

fn name(run: Run) -> VmName {
    VmName::new(format!("web-{}", run.vm.0)).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The tokens of the runs whose folders begin with `prefix`.
fn tokens(state: &Path, prefix: &str) -> Vec<String> {
    let runs = entries(&state.join("runs"));
    let of_run = runs.iter().filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix));
    of_run
        .filter_map(|path| fs::read_to_string(path.join("record.json")).ok())
        .filter_map(|text| Some(text.split_once("\"token\": \"")?.1.split_once('"')?.0.to_owned()))
        .collect()
}

/// Living processes by their environment and command line, its arguments separated by NULs.
fn processes(fits: impl Fn(&str, &str) -> bool) -> Vec<i32> {
    let read = |path: PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let (Ok(environ), Ok(cmdline)) =
            (read(entry.path().join("environ")), read(entry.path().join("cmdline")))
            && fits(&environ, &cmdline)
        {
            found.push(pid);
        }
    }
    found
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = boot_time() + 30_000_000_000;
    while !holds() {
        assert!(boot_time() < until, "not within 30 s: {what}");
        std::thread::sleep(StdDuration::from_millis(10));
    }
}

impl Bench for Host {
    fn hypervisor(&mut self) -> &mut dyn Hypervisor {
        self.backends.as_mut().unwrap()
    }

    fn now(&self) -> Time {
        Time(boot_time())
    }

    fn pass(&mut self, span: Duration) -> Vec<Input> {
        let span = StdDuration::from_nanos(span.as_nanos());
        match self.inputs.recv_timeout(span) {
            Ok(input) => vec![input],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(span);
                Vec::new()
            }
        }
    }

    fn spec(&self, guest: Guest) -> Option<VmSpec> {
        match guest {
            Guest::Obedient => Some(self.vm("obedient")),
            Guest::PowersOff => Some(self.vm("off")),
            Guest::Crashes => Some(self.vm("panics")),
            Guest::Broken => Some(self.vm("broken")),
            Guest::Deaf => Some(self.vm("hangs")),
        }
    }

    fn can_pause(&self) -> bool {
        true
    }

    fn words(&self, guest: Guest) -> &'static str {
        match guest {
            Guest::PowersOff => "the guest powered itself off",
            Guest::Crashes => "the guest panicked",
            _ => "",
        }
    }

    fn agent_dies(&mut self) {
        self.backends = None;
    }

    fn agent_comes(&mut self) {
        self.backends = None;
        let (backends, inputs) = open(self.folder.path(), &self.options);
        (self.backends, self.inputs) = (Some(backends), inputs);
    }

    fn is_alive(&mut self, run: Run) -> bool {
        let tokens = tokens(&self.state(), &format!("{}.{}.", run.vm, run.epoch));
        let of_run = |environ: &str| tokens.iter().any(|token| environ.contains(token.as_str()));
        // The runner becomes QEMU.
        let is_vm = |cmdline: &str| cmdline.contains("qemu-system") || cmdline.contains("bin/microvm-run");
        !processes(|environ, cmdline| is_vm(cmdline) && of_run(environ)).is_empty()
    }

    fn work_done(&mut self, run: Run) -> Option<u64> {
        let prefix = format!("{}.{}.", run.vm, run.epoch);
        let runs = entries(&self.state().join("runs"));
        let of_run =
            runs.iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&prefix));
        let output = fs::read_to_string(of_run?.join("output")).ok()?;
        Some(output.lines().filter(|line| line.starts_with("GUEST-TICK")).count() as u64)
    }

    fn left(&mut self) -> Vec<String> {
        self.rest()
    }

    fn kept(&mut self) -> Vec<String> {
        let folders = ["volumes", "nix"].map(|folder| entries(&self.state().join(folder)));
        let roots = entries(&self.state().join("nix")).into_iter().flat_map(|vm| entries(&vm.join("roots")));
        let mut kept: Vec<String> =
            folders.into_iter().flatten().chain(roots).map(|path| path.display().to_string()).collect();
        kept.sort();
        kept
    }
}

#[test]
fn conforms() {
    if is_skipped(PROGRAMS) {
        return;
    }
    std::thread::scope(|scope| {
        for part in 0..PARTS {
            scope.spawn(move || conformance_part(part, PARTS, |_| Host::new()));
        }
    });
}

#[test]
fn a_runner_runs_in_its_own_folder_and_a_stop_leaves_its_volume_alone() {
    if is_skipped(PROGRAMS) {
        return;
    }
    let mut host = Host::new();
    let spec = host.vm("obedient");
    let artifact = host.start(RUN, &spec).unwrap();
    assert!(artifact.contains("-microvm-qemu-obedient from path:"), "{artifact}");
    eventually("the guest counts", || host.printed().contains("GUEST-TICK 00000003"));
    host.stop(RUN);
    eventually("nothing is left", || host.rest().is_empty());
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
    eventually("nothing is left", || host.rest().is_empty());
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
        eventually("nothing is left", || host.rest().is_empty());
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
    eventually("nothing is left", || host.rest().is_empty());
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
    eventually("nothing is left", || host.rest().is_empty());
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
    eventually("nothing is left", || host.rest().is_empty());
}
