//! What every [`Hypervisor`] must do, as tests over the trait. Each sentence of [`blixard_node::hypervisor`] that can be
//! tried from outside is tried here, on real and simulated hypervisors alike.
//!
//! A backend's author implements [`Bench`] and calls [`conformance`] in a test; a broken promise panics with its name.

mod agents;
mod building;
mod ending;
mod pausing;
mod starting;
mod trial;

use blixard_node::hypervisor::Run;
use blixard_node::input::Input;
use blixard_node::spec::VmSpec;
use blixard_node::time::{Duration, Time};

use crate::backend::Hypervisor;
use trial::Trial;

/// A host with one hypervisor, in a world whose time can pass.
pub trait Bench {
    /// The hypervisor. Not called between [`Bench::agent_dies`] and [`Bench::agent_comes`].
    fn hypervisor(&mut self) -> &mut dyn Hypervisor;

    /// The host's boot-time clock.
    fn now(&self) -> Time;

    /// Lets `span` pass, or less when something comes in, and returns what came in.
    fn pass(&mut self, span: Duration) -> Vec<Input>;

    /// How to make such a guest; none when this hypervisor cannot have one. Asked for anew before each start.
    fn spec(&self, guest: Guest) -> Option<VmSpec>;

    /// Whether it can pause such a guest as [`Guest::Obedient`]. One that cannot says so to each pause and each resume, and the VM is
    /// as it was.
    fn can_pause(&self) -> bool;

    /// What stands in the reason that is told of the end of such a guest, if it ends by itself.
    fn words(&self, _guest: Guest) -> &'static str {
        ""
    }

    /// The agent's process dies, and all with it that does not outlive it.
    fn agent_dies(&mut self);

    /// The next agent's process begins, with a hypervisor that finds what the last one left.
    fn agent_comes(&mut self);

    /// Whether anything of that run is alive in truth, whatever the hypervisor says.
    fn is_alive(&mut self, run: Run) -> bool;

    /// How much the run's obedient guest has done so far, where that can be seen from outside: it grows every second while
    /// the guest's CPUs run, and never while they are halted.
    fn work_done(&mut self, _run: Run) -> Option<u64> {
        None
    }

    /// What is left on the host of runs, whatever the hypervisor says: processes, sockets, locks, network interfaces, cgroups. For
    /// people. Once every run has ended there is nothing.
    fn left(&mut self) -> Vec<String>;

    /// What is kept on the host for VMs beyond their runs: volumes, and what was built. For people. Once a VM is purged there is
    /// nothing of it.
    fn kept(&mut self) -> Vec<String>;
}

/// How a guest behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Runs until it is asked to end. Has a volume of its own where its hypervisor knows such.
    Obedient,
    /// Runs, and does not listen when asked to end.
    Deaf,
    /// Powers itself off in good order soon after it has started.
    PowersOff,
    /// Crashes soon after it has started.
    Crashes,
    /// Cannot be started.
    Broken,
}

/// How long anything may take that has no bound of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// How late a deadline may be enforced. Below `Settings::kill_grace`.
const LATE: Duration = Duration::from_millis(1_500);
/// A lease that does not matter.
const LONG: Duration = Duration::from_secs(300);
/// How long a thing that must not happen is waited for.
const QUIET: Duration = Duration::from_millis(300);

/// Runs every case, each on a bench of its own.
///
/// # Panics
/// When the hypervisor breaks a promise.
pub fn conformance<B: Bench>(bench: impl FnMut(&str) -> B) {
    conformance_part(0, 1, bench);
}

/// Runs every `parts`th case from the `part`th on, counted from 0. Real hypervisors mostly wait: their parts run at once.
///
/// # Panics
/// As [`conformance`].
pub fn conformance_part<B: Bench>(part: usize, parts: usize, mut bench: impl FnMut(&str) -> B) {
    for (name, case) in cases::<B>().into_iter().skip(part).step_by(parts) {
        let mut trial = Trial::new(bench(name), name);
        case(&mut trial);
        trial.leave_nothing();
    }
}

type Case<B> = (&'static str, fn(&mut Trial<B>));

/// The cases with their names.
fn cases<B: Bench>() -> Vec<Case<B>> {
    let mut cases = starting::cases();
    cases.extend(ending::cases());
    cases.extend(pausing::cases());
    cases.extend(building::cases());
    cases.extend(agents::cases());
    cases
}
