//! cloud-hypervisor's part is played by the test, at a socket in a folder of its own.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

/// A controller, the socket that it connects to, and the other end of its events, at a time that the test chooses.
struct Stage {
    control: CloudHypervisor,
    listener: UnixListener,
    api: Option<UnixStream>,
    events: Option<UnixStream>,
    now: u64,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (ours, events) = UnixStream::pair().unwrap();
        let control = CloudHypervisor::new(socket, Some(Line::open(Some(ours.into()))), 0);
        Self { control, listener, api: None, events: Some(events), now: 0, _folder: folder }
    }

    /// With a guest that runs.
    fn running() -> Self {
        let mut stage = Self::new();
        assert_eq!(stage.turn(), []);
        assert_eq!(stage.heard(), "GET vm.info");
        assert_eq!(stage.answers("200 OK", r#"{"config": {"cpus": {}}, "state": "Running"}"#), [News::Alive]);
        stage
    }

    fn turn(&mut self) -> Vec<News> {
        self.control.turn(self.now)
    }

    /// The request that has come since the last time, in short.
    fn heard(&mut self) -> String {
        if let Ok((api, _)) = self.listener.accept() {
            api.set_nonblocking(true).unwrap();
            self.api = Some(api);
        }
        let mut text = String::new();
        let _ = self.api.as_mut().unwrap().read_to_string(&mut text);
        let lines = text.lines().filter(|line| line.ends_with(" HTTP/1.1"));
        let short = |line: &str| line.replace("/api/v1/", "").replace(" HTTP/1.1", "");
        lines.map(short).collect::<Vec<_>>().join(", ")
    }

    fn sends(&mut self, bytes: &str) -> Vec<News> {
        self.api.as_mut().unwrap().write_all(bytes.as_bytes()).unwrap();
        self.turn()
    }

    fn answers(&mut self, status: &str, body: &str) -> Vec<News> {
        self.sends(&format!(
            "HTTP/1.1 {status}\r\nServer: stand-in\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn event(&mut self, source: &str, event: &str) -> Vec<News> {
        let text = format!(
            "{{\n  \"timestamp\": {{ \"secs\": 1, \"nanos\": 2 }},\n  \"source\": \"{source}\",\n  \"event\": \"{event}\",\n  \"properties\": null\n}}\n\n"
        );
        let (first, second) = text.split_at(text.len() / 2);
        self.events.as_mut().unwrap().write_all(first.as_bytes()).unwrap();
        let mut news = self.turn();
        self.events.as_mut().unwrap().write_all(second.as_bytes()).unwrap();
        news.extend(self.turn());
        news
    }

    /// Time passes, with a turn whenever one is due, until there is news.
    fn pass(&mut self, span: u64) -> Vec<News> {
        let until = self.now + span;
        while let Some(due) = self.control.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let news = self.turn();
            if !news.is_empty() {
                return news;
            }
        }
        self.now = until;
        Vec::new()
    }

    fn ask(&mut self, ask: Ask) -> String {
        self.control.ask(ask, self.now).unwrap();
        self.turn();
        self.heard()
    }

    /// It is dead; its end, as exit status 0 would not tell it.
    fn end(mut self) -> String {
        self.events = None;
        let Ended { how, detail } = self.control.end(None);
        format!("{how:?}: {detail}")
    }
}

#[test]
fn a_guest_that_boots_is_asked_for_until_it_runs() {
    let mut stage = Stage::new();
    stage.turn();
    for (status, body) in
        [("404 Not Found", r#"["VM is not created"]"#), ("200 OK", r#"{"state": "Created"}"#)]
    {
        assert_eq!(stage.heard(), "GET vm.info");
        assert_eq!(stage.answers(status, body), []);
        assert_eq!(stage.pass(POLL), []);
    }
    assert_eq!(stage.heard(), "GET vm.info");
    assert_eq!(stage.answers("200 OK", r#"{"state": "Running"}"#), [News::Alive]);
    assert_eq!(stage.pass(CHECK - 1), []);
    assert_eq!(stage.heard(), "", "it is left alone for a while");
    stage.pass(1);
    assert_eq!(stage.heard(), "GET vm.info");
    let mut stage = Stage::new();
    assert_eq!(stage.event("vm", "booted"), [News::Alive], "said by an event, too");
}

#[test]
fn what_is_asked_is_asked_one_after_the_other_and_once() {
    let mut stage = Stage::running();
    assert_eq!(stage.ask(Ask::Pause), "PUT vm.pause");
    assert_eq!(stage.ask(Ask::Pause), "");
    assert_eq!(stage.ask(Ask::PowerDown), "");
    assert_eq!(stage.answers("204 No Content", ""), [News::Did(Ask::Pause)]);
    assert_eq!(stage.heard(), "PUT vm.power-button");
    assert_eq!(stage.ask(Ask::Quit), "");
    let chunked = "HTTP/1.1 500 Error\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n";
    assert_eq!(stage.sends(chunked), []);
    assert_eq!(stage.heard(), "PUT vmm.shutdown");
}

#[test]
fn a_refused_pause_counts_when_the_guest_is_paused_all_the_same() {
    let refusal = r#"["Error from API","The VM could not be paused","Invalid VM state transition"]"#;
    let words =
        "cloud-hypervisor refuses: Error from API: The VM could not be paused: Invalid VM state transition";
    for (state, news) in
        [("Paused", News::Did(Ask::Pause)), ("Running", News::Refused(Ask::Pause, words.into()))]
    {
        let mut stage = Stage::running();
        assert_eq!(stage.ask(Ask::Pause), "PUT vm.pause");
        assert_eq!(stage.answers("500 Internal Server Error", refusal), []);
        assert_eq!(stage.heard(), "GET vm.info");
        assert_eq!(stage.answers("200 OK", &format!(r#"{{"state": "{state}"}}"#)), [news]);
    }
}

#[test]
fn a_connection_that_closes_is_opened_anew_and_the_request_is_sent_again() {
    let mut stage = Stage::running();
    assert_eq!(stage.ask(Ask::Resume), "PUT vm.resume");
    stage.api = None;
    assert_eq!(stage.turn(), []);
    stage.pass(RECONNECT);
    assert_eq!(stage.heard(), "PUT vm.resume");
    assert_eq!(stage.sends("no HTTP at all\r\n\r\n"), []);
    stage.pass(RECONNECT);
    assert_eq!(stage.heard(), "PUT vm.resume");
    let last = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    assert_eq!(stage.sends(last), [News::Did(Ask::Resume)]);
    assert_eq!(stage.ask(Ask::PowerDown), "");
    stage.pass(RECONNECT);
    assert_eq!(stage.heard(), "PUT vm.power-button");
}

#[test]
fn one_that_does_not_answer_is_asked_once_more_and_then_given_up() {
    let wedged = [News::Wedged("cloud-hypervisor does not answer at its socket".into())];
    let mut stage = Stage::running();
    stage.ask(Ask::Pause);
    assert_eq!(stage.pass(ANSWER), []);
    assert_eq!(stage.pass(RECONNECT), []);
    assert_eq!(stage.heard(), "PUT vm.pause", "over a new connection");
    assert_eq!(stage.pass(SECOND_CHANCE), wedged);
    let mut slow = Stage::running();
    slow.ask(Ask::Pause);
    slow.pass(ANSWER - 1);
    assert_eq!(slow.answers("204 No Content", ""), [News::Did(Ask::Pause)]);
    assert_eq!(slow.pass(CHECK), [], "slow is not wedged");
    let mut never = Stage::new();
    never.control.socket = "/no/such/socket".into();
    never.control.api = Line::calling("/no/such/socket".into(), 0);
    assert_eq!(never.pass(ANSWER + SECOND_CHANCE), wedged);
}

#[test]
fn the_reason_of_an_end_is_what_the_events_say() {
    let mut stage = Stage::running();
    assert_eq!(stage.event("vm", "shutdown"), []);
    assert_eq!(stage.event("vmm", "shutdown"), []);
    assert!(stage.control.ask(Ask::PowerDown, 0).is_err(), "it ends");
    assert_eq!(stage.end(), "PoweredOff: the guest powered itself off");
    let mut stage = Stage::running();
    assert_eq!(stage.event("vm", "rebooting"), [News::Over]);
    assert_eq!(stage.end(), "Crashed: the guest reset itself");
    let mut stage = Stage::running();
    assert_eq!(stage.event("guest", "panic"), [News::Over]);
    assert_eq!(stage.end(), "Crashed: the guest panicked");
    let mut stage = Stage::running();
    stage.events.as_mut().unwrap().write_all(b"thread panicked at 'no JSON'\n").unwrap();
    assert_eq!(stage.turn(), []);
    assert_eq!(stage.end(), "Crashed: its status is not known");
    let mut stage = Stage::running();
    assert_eq!(stage.event("vmm", "shutdown"), []);
    assert_eq!(stage.pass(LAST_WORDS), [News::Over], "it said so and lives on");
}

#[test]
fn one_that_was_told_of_no_events_is_known_by_its_answers_and_its_status() {
    let mut stage = Stage::new();
    stage.control.events = None;
    stage.turn();
    assert_eq!(stage.heard(), "GET vm.info");
    assert_eq!(stage.answers("200 OK", r#"{"state": "Running"}"#), [News::Alive]);
    stage.pass(CHECK);
    assert_eq!(stage.heard(), "GET vm.info");
    assert_eq!(stage.answers("200 OK", r#"{"state": "Shutdown"}"#), [News::Over]);
    assert_eq!(stage.end(), "PoweredOff: the guest powered itself off");
}
