//! A real Linux under QEMU: Debian's cloud kernel with a busybox, as `scripts/debian_kernel.sh` makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blixard_node::request::Write;
use blixard_node::spec::{Phase, VmName};

use super::client::qemu_vm;
use super::cluster::{Cluster, PATIENCE};
use super::scribe::runs;

/// Where the script puts the kernel; none when it is not there, which is said.
fn debian() -> Option<PathBuf> {
    // TARGET/tmp
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debian-kernel");
    let there = std::env::consts::ARCH == "x86_64" && folder.join("initrd").exists();
    if !there {
        eprintln!("skipped: no Debian kernel in {}; scripts/debian_kernel.sh fetches it", folder.display());
    }
    there.then_some(folder)
}

/// The frequency of this machine's time stamp counter. Under the translator Linux cannot find it out by itself.
fn tsc_khz() -> u64 {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz =
        info.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse().ok());
    (mhz.unwrap_or(2_000.0_f64) * 1_000.0) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debians_kernel_boots_and_obeys_the_power_button() {
    let Some(debian) = debian() else { return };
    let mut cluster = Cluster::new(1);
    if super::scribe::build_guest(cluster.folder()).is_none() {
        return;
    }
    cluster.start(1);
    cluster.until("it leads", |view| view.leader.is_some()).await;
    let payload = format!(
        "kernel = {:?}\ninitrd = {:?}\naccel = \"tcg\"\ncmdline = \"console=ttyS0 quiet tsc_early_khz={} tsc=reliable\"\n",
        debian.join("vmlinuz"),
        debian.join("initrd"),
        tsc_khz()
    );
    let caller = cluster.caller();
    let began = Instant::now();
    caller.create_and_start("debian", qemu_vm(&payload, 256)).await;
    let printed = printed(&cluster, "SMOKE-READY").await;
    eprintln!("Debian's kernel was up after {:.1?}: {}", began.elapsed(), line(&printed, "SMOKE-READY"));

    let asked = Instant::now();
    let name = VmName::new("debian").unwrap();
    caller.change(&[Write::StopVm { name, generation: None }]).await;
    cluster.until_vms("it is stopped", |vms| vms.iter().all(|vm| vm.phase == Phase::Stopped)).await;
    eprintln!("and down {:.1?} after it was asked to stop", asked.elapsed());
    self::printed(&cluster, "SMOKE-POWERBUTTON").await;
}

/// Waits until the only run has printed `marker`: all that it has printed.
async fn printed(cluster: &Cluster, marker: &str) -> String {
    let began = Instant::now();
    loop {
        let outputs = runs(cluster.folder()).into_iter();
        let text: String =
            outputs.filter_map(|(_, run)| fs::read_to_string(run.join("output")).ok()).collect();
        if text.contains(marker) {
            return text;
        }
        assert!(began.elapsed() < PATIENCE, "no {marker}, only {text:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn line<'a>(text: &'a str, marker: &str) -> &'a str {
    text.lines().find(|line| line.contains(marker)).unwrap_or_default().trim()
}
