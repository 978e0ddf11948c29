//! The rarer faults: those that real hypervisors were seen to have.

use super::*;

const ALWAYS: Chance = Chance { numerator: 1, denominator: 1 };

/// Every guest ends so, 500 ms after its start.
fn ending(faults: HypervisorFaults) -> HypervisorFaults {
    HypervisorFaults { lifetime: Spread::millis(500, 500), ..faults }
}

impl Host {
    fn listed(&mut self, until: u64) -> Vec<RunView> {
        let list = self.submit(HypervisorRequest::List);
        match self.go(until).answers(list).pop() {
            Some((_, Ok(Done::Listed(views)))) => views,
            other => panic!("{other:?}"),
        }
    }

    /// The agent dies and the next one comes at `until`.
    fn next_agent(&mut self, until: u64) {
        self.hypervisor.detach();
        self.go(until);
        self.handle = self.hypervisor.attach();
    }

    fn answer(&mut self, op: OpId, until: u64) -> Result<Done, HypervisorError> {
        self.go(until).answers(op).pop().expect("an answer").1
    }
}

fn view(state: RunState) -> Vec<RunView> {
    vec![RunView { run: run(1), state }]
}

fn reason(answer: Result<Done, HypervisorError>) -> String {
    answer.expect_err("a failure").to_string()
}

#[test]
fn a_guest_that_never_gets_ready_lives_until_it_is_killed() {
    let mut host = Host::new(HypervisorFaults { never_ready: ALWAYS, ..plain() });
    let start = host.start(1, 80_000);
    host.go(9_000);
    assert_eq!((host.answers(start), host.lives()), (vec![], vec![(100, "started")]));
    assert_eq!(host.listed(9_500), view(RunState::Starting));
    let kill = host.submit(HypervisorRequest::Kill { run: run(1) });
    assert_eq!(host.answer(kill, 10_000), Ok(Done::Stopped));
    assert!(matches!(host.answer(start, 10_000), Err(HypervisorError::Start { .. })));
    assert_eq!(host.lives(), [(100, "started"), (9_550, "ended")]);
    let late = host.start(1, 80_000);
    host.go(11_000).hypervisor.cancel_fates();
    assert_eq!(host.answer(late, 11_000), Ok(Done::Started), "healed, it gets ready");
}

#[test]
fn a_stop_that_is_not_supported_leaves_the_vm_as_it_was() {
    let mut host = Host::new(HypervisorFaults { stop_unsupported: ALWAYS, ..plain() });
    host.start(1, 80_000);
    host.go(1_000);
    let stop = host.stop(1, 5_000);
    assert!(matches!(host.answer(stop, 9_000), Err(HypervisorError::Unsupported { .. })));
    assert_eq!(host.listed(9_000), view(RunState::Running));
    let kill = host.submit(HypervisorRequest::Kill { run: run(1) });
    assert_eq!(host.answer(kill, 10_000), Ok(Done::Stopped));
}

#[test]
fn a_wedged_guest_and_one_whose_control_path_was_stolen_live_and_hear_nothing() {
    for faults in [
        HypervisorFaults { guest_wedges: ALWAYS, ..plain() },
        HypervisorFaults { control_stolen: ALWAYS, ..plain() },
    ] {
        let mut host = Host::new(ending(faults));
        host.start(1, 80_000);
        assert_eq!(host.go(1_000).lives(), [(100, "started")]);
        assert_eq!(host.listed(1_000), view(RunState::Running));
        let pause = host.submit(HypervisorRequest::Pause { run: run(1) });
        assert!(matches!(host.answer(pause, 1_000), Err(HypervisorError::Uncertain { .. })));
        host.stop(1, 3_000);
        host.go(9_000);
        assert_eq!(host.lives(), [(100, "started"), (4_050, "ended")], "killed when the grace is over");
    }
}

#[test]
fn ends_are_told_wrongly() {
    let told = |faults: HypervisorFaults| {
        let mut host = Host::new(ending(faults));
        host.start(1, 80_000);
        host.go(9_000).exits()
    };
    let crash = HypervisorFaults { guest_crashes: ALWAYS, ..plain() };
    assert_eq!(told(crash.clone()), [(600, Exit::Crashed)]);
    assert_eq!(told(HypervisorFaults { crash_as_reset: ALWAYS, ..crash }), [(600, Exit::PoweredOff)]);
    let off = HypervisorFaults { guest_powers_off: ALWAYS, ..plain() };
    assert_eq!(told(HypervisorFaults { exit_only_eof: ALWAYS, ..off }), [(600, Exit::Crashed)]);
}

#[test]
fn an_end_without_an_agent_is_told_to_each_next_one_until_it_acts() {
    let mut host = Host::new(ending(HypervisorFaults { guest_powers_off: ALWAYS, ..plain() }));
    host.start(1, 80_000);
    host.go(200).next_agent(1_000);
    host.next_agent(2_000);
    host.go(2_500);
    assert_eq!(host.exits(), [(2_000, Exit::PoweredOff)], "the first one was gone before it could hear");
    host.submit(HypervisorRequest::Kill { run: run(1) });
    host.go(2_600).next_agent(3_000);
    assert_eq!(host.go(4_000).exits().len(), 1);
}

#[test]
fn a_dead_run_is_taken_for_alive_by_its_socket_or_its_process_id() {
    let five = Spread::millis(5_000, 5_000);
    for faults in [
        HypervisorFaults { stale_socket: ALWAYS, stale_socket_for: five, ..plain() },
        HypervisorFaults { pid_reused: ALWAYS, pid_reused_for: five, ..plain() },
    ] {
        let mut host = Host::new(ending(HypervisorFaults { supervisor_dies: ALWAYS, ..faults }));
        host.start(1, 80_000);
        host.go(200).next_agent(1_000);
        assert_eq!(host.lives(), [(100, "started"), (600, "ended")]);
        assert_eq!(host.listed(2_000), view(RunState::Running));
        let again = host.start(2, 80_000);
        let refused = Err(HypervisorError::AlreadyRunning { epoch: Epoch(1) });
        assert_eq!(host.answer(again, 3_000), refused);
        assert_eq!(host.exits(), []);
        assert_eq!(host.go(7_000).exits(), [(6_000, Exit::Crashed)], "found out");
        assert_eq!(host.listed(7_000), []);
    }
}

#[test]
fn a_kill_of_what_is_dead_already_harms_nobody() {
    let mut host =
        Host::new(ending(HypervisorFaults { supervisor_dies: ALWAYS, pid_reused: ALWAYS, ..plain() }));
    host.start(1, 80_000);
    host.go(200).next_agent(1_000);
    let kill = host.submit(HypervisorRequest::Kill { run: run(1) });
    assert_eq!(host.answer(kill, 1_000), Ok(Done::Stopped));
    assert_eq!(host.listed(1_000), []);
    host.go(300_000);
    assert_eq!(host.exits(), [], "the agent has acted on it");
}

#[test]
fn a_reboot_leaves_sockets_and_disks() {
    let mut host = Host::new(HypervisorFaults { stale_socket: ALWAYS, ..plain() });
    host.start(1, 80_000);
    host.go(1_000).hypervisor.reboot(at(1_000));
    host.handle = host.hypervisor.attach();
    assert_eq!(host.listed(1_000), view(RunState::Running));
    assert_eq!(host.go(7_000).exits().len(), 1);
    let again = host.start(2, 80_000);
    assert_eq!(host.answer(again, 8_000), Ok(Done::Started), "what was prepared is still there");
}

#[test]
fn builds_take_too_long_or_hold_a_lock() {
    let slow = Spread::millis(7_000, 7_000);
    let out = HypervisorFaults { prepare_times_out: ALWAYS, prepare_slow_by: slow, ..plain() };
    let mut host = Host::new(out.clone());
    let prepare = host.prepare(None);
    assert!(reason(host.answer(prepare, 9_000)).contains("took too long"));
    assert_eq!(host.answers(prepare)[0].0, 7_010);
    let locks = HypervisorFaults { prepare_times_out: Chance::NEVER, prepare_locks: ALWAYS, ..out };
    let mut host = Host::new(locks);
    let first = host.prepare(None);
    host.hypervisor.set_faults(plain());
    let second = host.prepare(None);
    host.go(9_000);
    assert_eq!((host.answers(first)[0].0, host.answers(second)[0].0), (7_010, 7_020));
}

#[test]
fn a_full_disk_stops_builds_and_starts_and_loses_exits() {
    let full = HypervisorFaults { no_space_for: Spread::millis(5_000, 5_000), ..plain() };
    let mut host = Host::new(ending(HypervisorFaults { guest_crashes: ALWAYS, ..full }));
    host.start(1, 80_000);
    host.go(200).hypervisor.set_faults(HypervisorFaults { no_space: ALWAYS, ..full });
    let prepare = host.prepare(None);
    assert!(reason(host.answer(prepare, 300)).contains("no space left"));
    host.next_agent(1_000);
    let start = host.start(2, 80_000);
    assert!(reason(host.answer(start, 1_500)).contains("no space left"));
    assert_eq!(host.exits(), [], "the end was not written down for the next agent");
    host.hypervisor.set_faults(full);
    let start = host.go(6_000).start(2, 80_000);
    assert_eq!(host.answer(start, 7_000), Ok(Done::Started));
}

#[test]
fn a_host_builds_what_was_agreed_upon_or_says_so() {
    let builds = HypervisorFaults { builds: ALWAYS, ..plain() };
    let mut host = Host::new(builds.clone());
    let prepare = host.prepare(None);
    let Ok(Done::Prepared { artifact: Some(own) }) = host.answer(prepare, 100) else { panic!("an artifact") };
    for (pinned, until) in [(own.as_str(), 200), ("sim-built-elsewhere", 300)] {
        let same = host.prepare(Some(pinned));
        let expected = Ok(Done::Prepared { artifact: Some(pinned.to_owned()) });
        assert_eq!(host.answer(same, until), expected);
    }
    host.hypervisor.set_faults(HypervisorFaults { builds_differ: ALWAYS, ..builds });
    let (mut refused, mut other) = (0, 0);
    for round in 0..40 {
        let prepare = host.prepare(Some(&own));
        match host.answer(prepare, 1_000 + 100 * round) {
            Ok(Done::Prepared { artifact }) => other += u32::from(artifact != Some(own.clone())),
            Err(HypervisorError::Prepare { .. }) => refused += 1,
            answer => panic!("{answer:?}"),
        }
    }
    assert!(refused > 5 && other > 5 && refused + other == 40, "{refused}, {other}");
}

#[test]
fn what_was_not_prepared_here_as_agreed_does_not_start() {
    let mut host = Host::new(plain());
    let (name, spec) = (VmName::new("a").expect("a name"), spec());
    let (run, artifact) = (run(1), Some("sim-built-elsewhere".to_owned()));
    let deadline = at(80_000);
    let start = host.submit(HypervisorRequest::Start {
        run,
        name: name.clone(),
        spec: spec.clone(),
        artifact,
        deadline,
    });
    assert!(reason(host.answer(start, 100)).contains("has built nothing, not sim-built-elsewhere"));
    let purge = host.submit(HypervisorRequest::Purge { run, name, spec });
    assert_eq!(host.answer(purge, 200), Ok(Done::Purged));
    let start = host.start(1, 80_000);
    assert!(reason(host.answer(start, 300)).contains("was not prepared"));
    host.hypervisor.set_faults(HypervisorFaults { purge_fails: ALWAYS, ..plain() });
    let (name, spec) = (VmName::new("a").expect("a name"), super::spec());
    let purge = host.submit(HypervisorRequest::Purge { run, name, spec });
    assert!(matches!(host.answer(purge, 400), Err(HypervisorError::Uncertain { .. })));
}

#[test]
fn an_exit_is_told_when_the_vm_runs_again() {
    let by = Spread::millis(3_000, 3_000);
    let late = HypervisorFaults { exit_late: ALWAYS, exit_late_by: by, ..plain() };
    let mut host = Host::new(ending(HypervisorFaults { guest_crashes: ALWAYS, ..late }));
    host.start(1, 80_000);
    host.go(700).hypervisor.set_faults(plain());
    let again = host.start(2, 80_000);
    assert_eq!(host.answer(again, 3_000), Ok(Done::Started));
    assert_eq!(host.exits(), []);
    assert_eq!(host.go(9_000).exits(), [(3_600, Exit::Crashed)]);
    assert_eq!(host.lives(), [(100, "started"), (600, "ended"), (800, "started")]);
}

#[test]
fn a_list_comes_as_it_was_when_it_was_made() {
    let by = Spread::millis(3_000, 3_000);
    let mut host = Host::new(HypervisorFaults { list_late: ALWAYS, list_late_by: by, ..plain() });
    let list = host.submit(HypervisorRequest::List);
    host.go(10).start(1, 80_000);
    assert_eq!(host.go(2_000).answers(list), []);
    host.go(4_000);
    assert_eq!((host.lives(), host.answers(list)[0].0), (vec![(110, "started")], 3_000));
    assert_eq!(host.answers(list)[0].1, Ok(Done::Listed(Vec::new())));
}
