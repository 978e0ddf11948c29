//! What microvm.nix has built: a folder of programs and of notes about them (microvm.nix, `lib/runner.nix`).

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::hypervisor::run_dir::Control;

/// The most of a runner's script that is looked at, in bytes.
const SCRIPT_LEN_MAX: u64 = 1 << 20;

/// The most shares whose daemons are waited for.
const SHARES_MAX: usize = 64;

/// The longest path of a Unix socket, in bytes (unix(7): 108 with its NUL).
const SOCKET_LEN_MAX: usize = 107;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runner {
    path: PathBuf,
    /// As microvm.nix names it: `qemu`, `cloud-hypervisor`, ….
    pub(super) hypervisor: String,
    /// The hypervisor's control socket as its command line names it, relative to the working directory.
    socket: Option<PathBuf>,
    /// The sockets of its virtiofs daemons, likewise.
    shares: Vec<PathBuf>,
}

impl Runner {
    /// Reads the notes of the runner at `path`.
    ///
    /// # Errors
    /// When there is no runner.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let mut script = String::new();
        let run = path.join("bin/microvm-run");
        let read = File::open(&run).and_then(|file| file.take(SCRIPT_LEN_MAX).read_to_string(&mut script));
        read.map_err(|error| {
            format!(
                "{}: {error}; it is no runner of microvm.nix, or was not built on this host",
                run.display()
            )
        })?;
        let hypervisor = match fs::read_to_string(path.join("share/microvm/hypervisor")) {
            Ok(name) => name.trim().to_owned(),
            // Runners of 2025 and before say it in their names alone.
            Err(_) => named(path).unwrap_or_default(),
        };
        let option = match hypervisor.as_str() {
            "qemu" => Some("-qmp"),
            "cloud-hypervisor" => Some("--api-socket"),
            _ => None,
        };
        let socket = option.and_then(|option| socket(&script, option));
        Ok(Self { path: path.into(), hypervisor, socket, shares: shares(path) })
    }

    fn program(&self, name: &str) -> Option<String> {
        let path = self.path.join("bin").join(name);
        path.exists().then(|| path.display().to_string())
    }

    /// The programs among `names` that it has, each to be run alone.
    fn programs(&self, names: &[&str]) -> Vec<Vec<String>> {
        names.iter().filter_map(|name| self.program(name)).map(|program| vec![program]).collect()
    }

    /// What starts the VM. With shares of virtiofs it waits for their daemons: QEMU gives up at once when one does not
    /// listen yet.
    pub(super) fn command(&self) -> Vec<String> {
        let run = self.path.join("bin/microvm-run").display().to_string();
        if self.shares.is_empty() || self.program("virtiofsd-run").is_none() {
            return vec![run];
        }
        let wait = "run=$1; shift; tries=0; for socket; do until [ -S \"$socket\" ]; do \
            tries=$((tries + 1)); if [ $tries -gt 150 ]; then echo \"virtiofsd does not listen at $socket\" >&2; exit 1; fi; \
            sleep 0.1; done; done; exec \"$run\"";
        let mut command = vec!["/bin/sh".into(), "-c".into(), wait.into(), "microvm-run".into(), run];
        command.extend(self.shares.iter().map(|share| share.display().to_string()));
        command
    }

    /// What runs before it. Sockets of earlier runs go: they would be taken for those of this one.
    pub(super) fn before(&self) -> Vec<Vec<String>> {
        let mut before = self.without_sockets();
        before.extend(self.programs(&["tap-up", "macvtap-up", "pci-setup"]));
        before
    }

    fn without_sockets(&self) -> Vec<Vec<String>> {
        let sockets = self.socket.iter().chain(&self.shares).map(|socket| socket.display().to_string());
        let remove = ["/bin/sh", "-c", "rm -f -- \"$@\"", "rm"].map(String::from);
        let command: Vec<String> = remove.iter().cloned().chain(sockets).collect();
        if command.len() > remove.len() { vec![command] } else { Vec::new() }
    }

    pub(super) fn beside(&self) -> Vec<Vec<String>> {
        self.programs(&["virtiofsd-run"])
    }

    pub(super) fn after(&self) -> Vec<Vec<String>> {
        let mut after = self.programs(&["tap-down", "macvtap-down"]);
        after.extend(self.without_sockets());
        after
    }

    /// How it is talked to, when it runs in `workdir`.
    pub(super) fn control(&self, workdir: &Path) -> Control {
        let socket = self.socket.as_ref().map(|socket| workdir.join(socket));
        // One that no path can name is still reached from the working directory, by the runner's own program.
        let socket = socket.filter(|socket| socket.as_os_str().len() <= SOCKET_LEN_MAX);
        match (self.hypervisor.as_str(), socket, self.program("microvm-shutdown")) {
            ("qemu", Some(socket), _) => Control::Qmp { listens_at: Some(socket) },
            ("cloud-hypervisor", Some(listens_at), _) => {
                Control::CloudHypervisor { listens_at, events: false }
            }
            (_, _, Some(shutdown)) => Control::Command { shutdown: vec![shutdown] },
            _ => Control::Signals,
        }
    }
}

/// The hypervisor in a store path such as `/nix/store/HASH-microvm-cloud-hypervisor-web`.
fn named(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.split_once("-microvm-")?.1;
    let known =
        ["qemu", "cloud-hypervisor", "firecracker", "crosvm", "kvmtool", "stratovirt", "alioth", "vfkit"];
    let fits = |known: &&&str| name.strip_prefix(**known).is_some_and(|rest| rest.starts_with('-'));
    known.iter().find(fits).map(|known| (*known).to_owned())
}

/// The socket that `option` names in a shell script, quoted or not: `-qmp unix:web.sock,server,nowait`.
fn socket(script: &str, option: &str) -> Option<PathBuf> {
    let mut words = script.split_whitespace().map(|word| word.trim_matches('\''));
    words.find(|word| *word == option)?;
    let value = words.next()?;
    let value = value.strip_prefix("unix:").unwrap_or(value).split(',').next()?;
    let plain = |c: char| c.is_ascii_graphic() && !"'\"\\$`".contains(c);
    (!value.is_empty() && value.chars().all(plain)).then(|| value.into())
}

fn shares(path: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(path.join("share/microvm/virtiofs")).into_iter().flatten().flatten();
    let sockets =
        folders.take(SHARES_MAX).filter_map(|share| fs::read_to_string(share.path().join("socket")).ok());
    let mut sockets: Vec<PathBuf> = sockets.map(|socket| socket.trim().into()).collect();
    sockets.sort();
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A runner with these files; those of `bin` may be empty.
    fn runner(name: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        for (file, text) in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        (folder, path)
    }

    const QEMU: &str = "exec -a \"microvm@web\" /nix/store/q/bin/qemu-system-x86_64 -name web -m 512 -qmp unix:web.sock,server,nowait -device x\n";

    #[test]
    fn a_qemu_runner_is_talked_to_by_qmp() {
        let (_folder, path) = runner(
            "h-microvm-qemu-web",
            &[
                ("bin/microvm-run", QEMU),
                ("bin/microvm-shutdown", ""),
                ("share/microvm/hypervisor", "qemu\n"),
            ],
        );
        let runner = Runner::read(&path).unwrap();
        let socket = Path::new("/v/web/web.sock");
        assert_eq!(runner.control(Path::new("/v/web")), Control::Qmp { listens_at: Some(socket.into()) });
        assert_eq!(runner.command(), [path.join("bin/microvm-run").display().to_string()]);
        assert_eq!(runner.before(), [["/bin/sh", "-c", "rm -f -- \"$@\"", "rm", "web.sock"]]);
        assert!(runner.beside().is_empty());
        assert_eq!(runner.after(), runner.before(), "a QEMU that was killed has left its socket");
        // A path that no socket can have.
        let deep = PathBuf::from(format!("/{}", "d".repeat(100)));
        let shutdown = vec![path.join("bin/microvm-shutdown").display().to_string()];
        assert_eq!(runner.control(&deep), Control::Command { shutdown });
    }

    #[test]
    fn an_older_runner_says_its_hypervisor_in_its_name_and_quotes() {
        let script = QEMU.replace("-qmp unix:web.sock,server,nowait", "'-qmp' 'unix:web.sock,server,nowait'");
        let (_folder, path) = runner("h-microvm-qemu-web", &[("bin/microvm-run", &script)]);
        let runner = Runner::read(&path).unwrap();
        assert_eq!(runner.hypervisor, "qemu");
        let socket = Path::new("/v/web.sock");
        assert_eq!(runner.control(Path::new("/v")), Control::Qmp { listens_at: Some(socket.into()) });
    }

    #[test]
    fn interfaces_and_shares_are_honoured() {
        let (_folder, path) = runner(
            "h-microvm-cloud-hypervisor-web",
            &[
                ("bin/microvm-run", "exec ch --api-socket web.sock --net tap=vm-a"),
                ("bin/tap-up", ""),
                ("bin/tap-down", ""),
                ("bin/macvtap-up", ""),
                ("bin/macvtap-down", ""),
                ("bin/virtiofsd-run", ""),
                ("share/microvm/virtiofs/store/socket", "web-virtiofs-store.sock\n"),
                ("share/microvm/virtiofs/home/socket", "web-virtiofs-home.sock\n"),
            ],
        );
        let runner = Runner::read(&path).unwrap();
        assert_eq!(
            runner.control(Path::new("/v")),
            Control::CloudHypervisor { listens_at: "/v/web.sock".into(), events: false }
        );
        let names = |commands: Vec<Vec<String>>| -> Vec<String> {
            commands.iter().map(|command| command[0].rsplit('/').next().unwrap().to_owned()).collect()
        };
        assert_eq!(names(runner.before()), ["sh", "tap-up", "macvtap-up"]);
        assert_eq!(
            runner.before()[0][4..],
            ["web.sock", "web-virtiofs-home.sock", "web-virtiofs-store.sock"]
        );
        assert_eq!(names(runner.beside()), ["virtiofsd-run"]);
        assert_eq!(names(runner.after()), ["tap-down", "macvtap-down", "sh"]);
        let command = runner.command();
        assert_eq!(command[4], path.join("bin/microvm-run").display().to_string());
        assert_eq!(command[5..], ["web-virtiofs-home.sock", "web-virtiofs-store.sock"]);
    }

    #[test]
    fn one_without_a_shutdown_program_gets_signals() {
        let files = [("bin/microvm-run", "exec lkvm run"), ("share/microvm/hypervisor", "kvmtool")];
        let (_folder, path) = runner("h-microvm-kvmtool-web", &files);
        assert_eq!(Runner::read(&path).unwrap().control(Path::new("/v")), Control::Signals);
        let error = Runner::read(Path::new("/nix/store/none")).unwrap_err();
        assert!(error.contains("it is no runner of microvm.nix"), "{error}");
    }

    #[test]
    fn the_wait_for_a_share_ends_when_it_listens() {
        let (folder, path) = runner(
            "h-microvm-qemu-web",
            &[
                ("bin/microvm-run", "#!/bin/sh\necho started\n"),
                ("bin/virtiofsd-run", ""),
                ("share/microvm/virtiofs/store/socket", "store.sock"),
            ],
        );
        let run = path.join("bin/microvm-run");
        fs::set_permissions(run, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("store.sock")).unwrap();
        let command = Runner::read(&path).unwrap().command();
        let output =
            std::process::Command::new(&command[0]).args(&command[1..]).current_dir(folder.path()).output();
        assert_eq!(output.unwrap().stdout, b"started\n");
    }
}
