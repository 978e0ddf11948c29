//! A headless Chromium, driven over WebDriver: real keys, a real wheel, and the browser's own logs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a page may take to come to a state that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one window. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; `None`, told in a line, where there is none to start.
    pub(crate) fn open() -> Option<Self> {
        let missing: Vec<&str> =
            ["chromium", "chromedriver"].into_iter().filter(|name| !installed(name)).collect();
        if !missing.is_empty() {
            eprintln!("skipped: {} is not installed", missing.join(" and "));
            return None;
        }
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        let (driver, port) = start_driver();
        let mut browser = Self { driver, session: format!("http://127.0.0.1:{port}/session"), profile };
        let answer = browser.ask("POST", "", Some(browser.wishes()));
        let id = answer["sessionId"].as_str().expect("a session begins").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    fn wishes(&self) -> Value {
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,1000",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--user-data-dir={}", self.profile.path().display()));
        json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } })
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let address = format!("{}{path}", self.session);
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let answer = match method {
            "GET" => agent.get(&address).call(),
            "DELETE" => agent.delete(&address).call(),
            _ => agent
                .post(&address)
                .content_type("application/json")
                .send(body.unwrap_or_else(|| json!({})).to_string()),
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {address}: {error}"));
        // Screens and logs are larger than what is read by itself.
        let text =
            answer.body_mut().with_config().limit(1 << 30).read_to_string().expect("the driver's answer");
        let mut value: Value = serde_json::from_str(&text).expect("the driver answers in JSON");
        let value = value["value"].take();
        assert!(value["error"].is_null(), "{method} {path}: {} {}", value["error"], value["message"]);
        value
    }

    /// Opens a file's page, at a place in it, and waits until its picture is drawn. Milliseconds that took, as the page measured.
    pub(crate) fn visit(&self, file: &Path, place: &str) -> u64 {
        // A change of the place alone would not load the page again.
        self.ask("POST", "/url", Some(json!({ "url": "about:blank" })));
        // The browser's own first page asks for much, none of which is ours.
        self.requests();
        self.console();
        self.ask("POST", "/url", Some(json!({ "url": format!("file://{}{place}", file.display()) })));
        let opened = "return Number(document.documentElement.dataset.opened ?? 0)";
        self.wait(opened, |value| value.as_f64().is_some_and(|ms| ms > 0.0)).as_f64().unwrap_or_default()
            as u64
    }

    /// What a script in the page returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", Some(json!({ "script": script, "args": [] })))
    }

    pub(crate) fn number(&self, script: &str) -> f64 {
        let value = self.run(&format!("return {script}"));
        value.as_f64().unwrap_or_else(|| panic!("{script} is no number but {value}"))
    }

    pub(crate) fn text(&self, script: &str) -> String {
        let value = self.run(&format!("return {script}"));
        value.as_str().unwrap_or_else(|| panic!("{script} is no text but {value}")).to_owned()
    }

    /// Runs a script again and again, until what it returns is as wanted.
    pub(crate) fn wait(&self, script: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let value = self.run(script);
            if wanted(&value) {
                return value;
            }
            assert!(begin.elapsed() < PATIENCE, "{script} is still {value}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a condition of the page holds.
    pub(crate) fn until(&self, condition: &str) {
        self.wait(&format!("return {condition}"), |value| *value == Value::Bool(true));
    }

    /// Waits until nothing moves and everything is drawn.
    pub(crate) fn settle(&self) {
        self.until("!waiting && view.moving === 0");
    }

    pub(crate) fn click(&self, selector: &str) {
        let found = self.ask("POST", "/element", Some(json!({ "using": "css selector", "value": selector })));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("there is no {selector}"));
        self.ask("POST", &format!("/element/{id}/click"), None);
    }

    /// Types letters, wherever the focus is.
    pub(crate) fn keys(&self, letters: &str) {
        let press = |letter: char| {
            [json!({ "type": "keyDown", "value": letter }), json!({ "type": "keyUp", "value": letter })]
        };
        let actions: Vec<Value> = letters.chars().flat_map(press).collect();
        self.act(json!([{ "type": "key", "id": "keys", "actions": actions }]));
    }

    /// Moves the pointer to a place of the window.
    pub(crate) fn point(&self, x: f64, y: f64) {
        let moves = json!([{ "type": "pointerMove", "duration": 0, "x": x as i64, "y": y as i64 }]);
        self.act(json!([{ "type": "pointer", "id": "mouse", "actions": moves }]));
    }

    /// Turns the wheel at a place of the window.
    pub(crate) fn wheel(&self, x: f64, y: f64, by: i64) {
        let turns = json!([{
            "type": "scroll", "duration": 0, "x": x as i64, "y": y as i64, "deltaX": 0, "deltaY": by,
        }]);
        self.act(json!([{ "type": "wheel", "id": "wheel", "actions": turns }]));
    }

    fn act(&self, actions: Value) {
        self.ask("POST", "/actions", Some(json!({ "actions": actions })));
    }

    /// What the console has said since it was asked last, breaches of the content policy among it.
    pub(crate) fn console(&self) -> Vec<String> {
        let log = self.log("browser");
        log.iter().map(|line| format!("{} {}", line["level"], line["message"])).collect()
    }

    /// The addresses that were asked for since this was asked last.
    pub(crate) fn requests(&self) -> Vec<String> {
        let mut asked = Vec::new();
        for line in self.log("performance") {
            let text = line["message"].as_str().unwrap_or_default();
            let told: Value = serde_json::from_str(text).expect("the browser tells of itself in JSON");
            if told["message"]["method"] == "Network.requestWillBeSent" {
                let address = &told["message"]["params"]["request"]["url"];
                asked.push(address.as_str().unwrap_or_default().to_owned());
            }
        }
        asked
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let lines = self.ask("POST", "/se/log", Some(json!({ "type": kind })));
        lines.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask("DELETE", "", None);
        }
        // Asked to end, it takes its browser along.
        let driver = rustix::process::Pid::from_child(&self.driver);
        let _ = rustix::process::kill_process(driver, rustix::process::Signal::TERM);
        let _ = self.driver.wait();
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The driver, and the port it has chosen.
fn start_driver() -> (Child, u16) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver starts");
    let lines = BufReader::new(driver.stdout.take().expect("its output is piped")).lines();
    let port = lines.map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    (driver, port.expect("the driver names its port"))
}
