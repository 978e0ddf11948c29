//! The single looks.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

use super::{Check, Status};
use crate::hypervisor::{microvm_nix, qemu, tool};
use crate::supervise::cgroup::parent;

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// Less free space than this is told, in bytes.
const SPACE_LEN_MIN: u64 = 1 << 30;

/// All of them, in the order in which they are shown.
pub(super) fn all(data_dir: &Path) -> Vec<Check> {
    let lacks = Status::Lacks;
    let debian = "install it (Debian: `apt-get install qemu-utils`)";
    vec![
        Check::new(
            "pidfd",
            pidfd(),
            Status::Fails,
            "supervisors cannot wait for their VMs: nothing runs",
            "use Linux 5.3 or newer",
        ),
        Check::new(
            "timerfd",
            timerfd(),
            Status::Fails,
            "deadlines cannot be kept through suspend: nothing runs",
            "use Linux 3.15 or newer",
        ),
        Check::new(
            "kvm",
            kvm(),
            lacks,
            "QEMU translates the guests' instructions: they run, ten times slower or more",
            "load kvm_intel or kvm_amd, let this user open /dev/kvm (group kvm), or switch nested virtualization on",
        ),
        Check::new(
            "qemu-img",
            version("qemu-img", "--version"),
            lacks,
            "qcow2 disks cannot be made; raw ones can",
            debian,
        ),
        Check::new(
            "nix",
            version("nix", "--version"),
            lacks,
            "VMs described in flakes (microvm-nix) cannot be built here",
            "install Nix (Debian: `apt-get install nix-bin`)",
        ),
        Check::new(
            "microvm@",
            microvm_units(),
            lacks,
            "systemd restarts those VMs whatever becomes of them: VMs of these names are refused here",
            "`systemctl disable --now` them, or give the VMs other names",
        ),
        Check::new(
            "virtiofsd",
            virtiofsd(),
            lacks,
            "folders of the host cannot be shared with a VM by virtiofs",
            "install it (Debian: `apt-get install virtiofsd`)",
        ),
        Check::new(
            "tun",
            tun(),
            lacks,
            "VMs reach others through user networking alone, not over taps or bridges",
            "run as root or with CAP_NET_ADMIN, and load the module tun",
        ),
        Check::new(
            "bridge-helper",
            bridge_helper(),
            lacks,
            "`network = \"bridge\"` needs QEMU's setuid helper when the daemon is not root",
            "install the helper and name the bridge in /etc/qemu/bridge.conf",
        ),
        Check::new(
            "cgroup",
            cgroup(),
            lacks,
            "VMs stay in the daemon's cgroup: what ends its unit with all its processes ends them too",
            "mount cgroup v2 and delegate a subtree to the daemon (systemd: Delegate=yes), or let its unit end alone (KillMode=process)",
        ),
        Check::new(
            "systemd",
            systemd(),
            lacks,
            "nothing starts the daemon after a reboot unless you see to it",
            "run the daemon under systemd or another service supervisor",
        ),
        Check::new(
            "watchdog",
            watchdog(),
            lacks,
            "a host whose kernel hangs is not reset; its VMs may outlive their deadlines until somebody resets it",
            "load the hardware's watchdog driver, or softdog",
        ),
        Check::new(
            "space",
            space(data_dir),
            lacks,
            "builds, volumes or the log may soon fail for want of space",
            "free some, or put --data-dir on a larger file system",
        ),
    ]
}

fn pidfd() -> Result<String, String> {
    let opened = pidfd_open(getpid(), PidfdFlags::empty());
    opened.map(|_| format!("supported by Linux {}", kernel())).map_err(|error| error.to_string())
}

fn timerfd() -> Result<String, String> {
    let made = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC);
    made.map(|_| "on the boot-time clock".into()).map_err(|error| error.to_string())
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "?".into(), |text| text.trim().to_owned())
}

fn kvm() -> Result<String, String> {
    let qemu = tool::find(&qemu::program());
    let Some(qemu) = qemu else {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
        return match opened {
            Ok(_) => Err("/dev/kvm is there; without QEMU it is not known whether it boots a guest".into()),
            Err(error) => Err(format!("/dev/kvm cannot be opened: {error}")),
        };
    };
    qemu::probe_kvm(&qemu).map(|()| "a guest boots".into())
}

fn version(program: &str, arg: &str) -> Result<String, String> {
    let path = tool::find(program).ok_or("not installed")?;
    let outcome = tool::run(&path, &[arg], PATIENCE).map_err(|error| error.to_string())?;
    match outcome.out.lines().next() {
        Some(line) if outcome.is_ok() => Ok(line.trim().into()),
        _ => Err(format!("{}: {}", path.display(), outcome.complaint())),
    }
}

fn microvm_units() -> Result<String, String> {
    let units = microvm_nix::enabled_units();
    if units.is_empty() { Ok("no unit of microvm.nix is enabled".into()) } else { Err(units.join(", ")) }
}

fn virtiofsd() -> Result<String, String> {
    // Debian and Fedora keep it out of everybody's PATH.
    let usual = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"].map(PathBuf::from);
    let found = tool::find("virtiofsd").or_else(|| usual.into_iter().find(|path| path.exists()));
    found.map(|path| path.display().to_string()).ok_or_else(|| "not installed".into())
}

fn tun() -> Result<String, String> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    opened.map_err(|error| format!("/dev/net/tun cannot be opened: {error}"))?;
    if has_net_admin() {
        Ok("taps can be made and opened".into())
    } else {
        Err("CAP_NET_ADMIN is missing".into())
    }
}

/// `CAP_NET_ADMIN`, capability 12, among the effective ones.
fn has_net_admin() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> 12 & 1 == 1)
}

fn bridge_helper() -> Result<String, String> {
    let usual = ["/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper"].map(PathBuf::from);
    let found = usual.into_iter().find(|path| path.exists()).or_else(|| tool::find("qemu-bridge-helper"));
    found.map(|path| path.display().to_string()).ok_or_else(|| "not installed".into())
}

fn cgroup() -> Result<String, String> {
    parent().map(|parent| format!("runs get cgroups below {}", parent.display()))
}

fn systemd() -> Result<String, String> {
    if Path::new("/run/systemd/system").is_dir() {
        return Ok("is this host's init".into());
    }
    let init = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    Err(format!("this host's init is {:?}", init.trim()))
}

fn watchdog() -> Result<String, String> {
    // Not opened: that would start it.
    match fs::metadata("/dev/watchdog") {
        Ok(_) => {
            let timeout = fs::read_to_string("/sys/class/watchdog/watchdog0/timeout").unwrap_or_default();
            let timeout = timeout.trim();
            let bound =
                if timeout.is_empty() { String::new() } else { format!(", resets after {timeout} s") };
            Ok(format!("/dev/watchdog is there{bound}; give it to the daemon with --watchdog"))
        }
        Err(error) => Err(format!("/dev/watchdog: {error}")),
    }
}

fn space(data_dir: &Path) -> Result<String, String> {
    // The daemon may not have run yet: the nearest folder that is there lies on the same file system.
    let there = data_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(there)
        .map_err(|error| format!("{}: {}", there.display(), io::Error::from(error)))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} MiB are free for {}", free >> 20, data_dir.display());
    if free >= SPACE_LEN_MIN { Ok(found) } else { Err(found) }
}
