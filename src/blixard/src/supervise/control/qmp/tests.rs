//! QEMU's part is played by the test, over the other end of the line.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use expect_test::{Expect, expect};

use super::*;

const MS: u64 = 1_000_000;

/// A controller and the other end of its line, at a time that the test chooses.
struct Stage {
    qmp: Qmp,
    qemu: Option<UnixStream>,
    now: u64,
}

impl Stage {
    fn new() -> Self {
        let (ours, qemu) = UnixStream::pair().unwrap();
        qemu.set_nonblocking(true).unwrap();
        Self { qmp: Qmp::new(Line::open(Some(ours.into())), 0), qemu: Some(qemu), now: 0 }
    }

    /// With a guest that runs.
    fn running() -> Self {
        let mut stage = Self::new();
        let news = stage.says(
            r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}
               {"return": {}, "id": 1}
               {"return": {}, "id": 2}"#,
        );
        assert_eq!(news, [News::Alive]);
        stage.heard();
        stage
    }

    /// QEMU says these lines.
    fn says(&mut self, lines: &str) -> Vec<News> {
        for line in lines.lines() {
            let sent = self.qemu.as_mut().unwrap().write_all(format!("{}\r\n", line.trim()).as_bytes());
            sent.unwrap();
        }
        self.qmp.turn(self.now)
    }

    /// What QEMU has been told since the last time.
    fn heard(&mut self) -> String {
        let mut text = String::new();
        let _ = self.qemu.as_mut().unwrap().read_to_string(&mut text);
        text
    }

    /// Time passes, with a turn whenever one is due. What came of it, and when.
    fn pass(&mut self, span: u64) -> Vec<(u64, News)> {
        let until = self.now + span;
        let mut news = Vec::new();
        while let Some(due) = self.qmp.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            news.extend(self.qmp.turn(self.now).into_iter().map(|one| (self.now / SECOND, one)));
            if !news.is_empty() {
                return news;
            }
        }
        self.now = until;
        news
    }

    /// QEMU says these lines and is dead. Its end, as its status would not tell it.
    fn ends_with(mut self, lines: &str) -> Ended {
        self.says(lines);
        self.qemu = None;
        self.qmp.end(None)
    }
}

fn check_end(lines: &str, expected: Expect) {
    let Ended { how, detail } = Stage::running().ends_with(lines);
    expected.assert_eq(&format!("{how:?}: {detail}"));
}

#[test]
fn all_that_is_needed_is_asked_before_qemu_has_said_a_word() {
    let mut stage = Stage::new();
    assert_eq!(stage.qmp.turn(0), []);
    expect![[r#"
        {"execute":"qmp_capabilities","id":1}
        {"execute":"cont","id":2}
    "#]]
    .assert_eq(&stage.heard());
}

#[test]
fn what_is_asked_is_answered_in_its_own_words() {
    let mut stage = Stage::running();
    for ask in [Ask::Pause, Ask::Resume, Ask::PowerDown, Ask::Quit] {
        stage.qmp.ask(ask, 0).unwrap();
    }
    expect![[r#"
        {"execute":"stop","id":3}
        {"execute":"cont","id":4}
        {"execute":"system_powerdown","id":5}
        {"execute":"quit","id":6}
    "#]]
    .assert_eq(&stage.heard());
    let news = stage.says(
        r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "NIC_RX_FILTER_CHANGED", "data": {"name": "x", "path": "y"}}
           {"return": {}, "id": 3}
           no JSON at all
           {"id": 4, "error": {"class": "GenericError", "desc": "Resetting the Virtual Machine is required"}}
           {"return": {}, "id": 5}"#,
    );
    let refused = "Resetting the Virtual Machine is required".to_owned();
    assert_eq!(news, [News::Did(Ask::Pause), News::Refused(Ask::Resume, refused)]);
}

#[test]
fn the_reason_of_an_end_is_what_qemu_says() {
    let shutdown =
        |reason: &str| format!(r#"{{"event": "SHUTDOWN", "data": {{"guest": true, "reason": "{reason}"}}}}"#);
    check_end(&shutdown("guest-shutdown"), expect!["PoweredOff: the guest powered itself off"]);
    check_end(&shutdown("guest-reset"), expect!["Crashed: the guest reset itself"]);
    check_end(&shutdown("guest-panic"), expect!["Crashed: the guest panicked"]);
    check_end(&shutdown("host-signal"), expect!["Crashed: QEMU was told to end by a signal"]);
    check_end(&shutdown("host-qmp-quit"), expect!["Crashed: QEMU was told to quit"]);
    check_end(&shutdown("host-error"), expect!["Crashed: host-error, its status is not known"]);
    check_end(
        r#"{"event": "GUEST_PANICKED", "data": {"action": "pause", "info": {"type": "pvpanic"}}}"#,
        expect!["Crashed: the guest panicked"],
    );
    check_end("", expect!["Crashed: its status is not known"]);
}

#[test]
fn a_guest_that_kvm_cannot_run_is_wedged_at_the_start_and_later() {
    let wedged = "the hypervisor cannot run the guest (internal-error)".to_owned();
    let mut stage = Stage::new();
    let refused = r#"{"error": {"class": "GenericError", "desc": "Resetting the Virtual Machine is required"}, "id": 2}"#;
    let news = stage.says(refused);
    let why = "QEMU refuses to run its guest: Resetting the Virtual Machine is required";
    assert_eq!(news, [News::Wedged(why.into())]);
    let mut stage = Stage::running();
    assert_eq!(stage.says(r#"{"event": "STOP"}"#), []);
    assert_eq!(stage.heard(), "{\"execute\":\"query-status\",\"id\":3}\n");
    assert_eq!(stage.says(r#"{"return": {"status": "internal-error"}, "id": 3}"#), [News::Wedged(wedged)]);
}

#[test]
fn a_qemu_that_never_answers_is_wedged_after_a_second_chance() {
    let mut stage = Stage::new();
    let silent = News::Wedged("QEMU does not answer on its control line".into());
    assert_eq!(stage.pass(100 * SECOND), [(40, silent.clone())]);
    let mut stage = Stage::running();
    assert_eq!(stage.pass(100 * SECOND), [(60, silent)], "asked after 20 s");
}

#[test]
fn a_qemu_that_answers_in_time_is_well_however_long_it_runs() {
    let mut stage = Stage::running();
    for id in 3..100 {
        assert_eq!(stage.pass(20 * SECOND), []);
        assert_eq!(stage.heard(), format!("{{\"execute\":\"query-status\",\"id\":{id}}}\n"));
        assert_eq!(stage.pass(25 * SECOND), []);
        assert_eq!(stage.says(&format!(r#"{{"return": {{"status": "paused"}}, "id": {id}}}"#)), []);
    }
}

#[test]
fn a_host_that_slept_gives_qemu_its_second_chance() {
    let mut stage = Stage::running();
    assert_eq!(stage.pass(20 * SECOND), []);
    stage.now += 10_000 * SECOND;
    assert_eq!(stage.qmp.turn(stage.now), []);
    assert_eq!(stage.pass(5 * SECOND), []);
    assert_eq!(stage.says(r#"{"return": {"status": "running"}, "id": 3}"#), []);
    assert_eq!(stage.pass(15 * SECOND), []);
}

#[test]
fn a_qemu_that_says_it_ends_and_does_not_is_killed() {
    let mut stage = Stage::running();
    let down = r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#;
    assert_eq!(stage.says(down), []);
    assert_eq!(stage.pass(60 * SECOND), [(3, News::Over)]);
    let ended = stage.ends_with("");
    assert_eq!((ended.how, ended.detail.as_str()), (How::PoweredOff, "the guest powered itself off"));
    let mut stage = Stage::running();
    stage.qemu = None;
    assert_eq!(stage.qmp.turn(0), []);
    assert!(stage.qmp.ask(Ask::PowerDown, 0).is_err(), "a stop need not wait");
    let wedged = News::Wedged("QEMU closed its control line and did not exit".into());
    assert_eq!(stage.pass(60 * SECOND), [(3, wedged)]);
}

#[test]
fn a_socket_may_come_late_and_be_deep() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a-folder-with-a-long-name".repeat(6));
    std::fs::create_dir(&deep).unwrap();
    let mut qmp = Qmp::new(Line::calling(deep.join("qmp.sock"), 0), 0);
    assert_eq!(qmp.turn(0), []);
    assert_eq!(qmp.due(), Some(10 * MS));
    let inside = std::fs::File::open(&deep).unwrap();
    let short = format!("/proc/self/fd/{}/qmp.sock", std::os::fd::AsRawFd::as_raw_fd(&inside));
    let listener = std::os::unix::net::UnixListener::bind(short).unwrap();
    assert_eq!(qmp.turn(10 * MS), []);
    let (mut qemu, _) = listener.accept().unwrap();
    let mut said = [0; 38];
    qemu.read_exact(&mut said).unwrap();
    assert_eq!(&said[..], b"{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
    qemu.write_all(b"{\"return\": {}, \"id\": 2}\n").unwrap();
    assert_eq!(qmp.turn(10 * MS), [News::Alive]);
}

#[test]
fn a_guest_with_a_keyboard_is_asked_by_it_too() {
    let mut stage = Stage::running();
    stage.qmp = stage.qmp.with_keyboard();
    stage.qmp.ask(Ask::PowerDown, stage.now).unwrap();
    let heard = stage.heard();
    let mut lines = heard.lines();
    expect![[r#"{"execute":"system_powerdown","id":3}"#]].assert_eq(lines.next().unwrap());
    let keys = lines.next().unwrap();
    assert!(
        keys.starts_with(
            r#"{"execute":"send-key","id":4,"arguments":{"keys":[{"type":"qcode","data":"ctrl"}"#
        ),
        "{keys}"
    );
    // A QEMU that knows no such keys does not hold against it.
    assert_eq!(stage.says(r#"{"id": 4, "error": {"class": "GenericError", "desc": "no keyboard"}}"#), []);
}
