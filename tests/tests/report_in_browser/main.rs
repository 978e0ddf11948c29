//! The picture of a run in a real browser: it opens on the violation, shows what is asked for, and fetches nothing.
#![cfg(not(madsim))]

mod browser;

use std::path::PathBuf;
use std::sync::OnceLock;

use blixard_sim::report::{self, ExplanationLine, Header};
use blixard_sim::scenario::{self, Scenario};
use blixard_sim::subject::{Blixard, Subject as _};
use blixard_sim::trace::Entry;
use blixard_sim::world::{Lie, Report, Sabotage};
use browser::Browser;

/// As many events as must open in time.
const MANY: usize = 100_000;
/// Milliseconds until a page of that many is drawn: the bound is for machines that do much else; docs/benchmarks.md has what was measured.
const OPENS_MS_MAX: u64 = 10_000;
/// Bytes of a page of that many.
const BYTES_MAX: usize = 10_000_000;

/// A page in a folder of its own.
struct Page {
    file: PathBuf,
    bytes: usize,
    events: usize,
    violation_at: f64,
    _folder: tempfile::TempDir,
}

fn page(header: &Header, entries: &[Entry], report: &Report) -> Page {
    let folder = tempfile::tempdir().expect("a folder for the page");
    let file = folder.path().join("run.html");
    let html = report::html(header, entries, report);
    std::fs::write(&file, &html).expect("the page is written");
    let violation_at = report.violation.as_ref().map_or(-1.0, |violation| violation.at.0 as f64);
    Page { file, bytes: html.len(), events: entries.len(), violation_at, _folder: folder }
}

fn scenario(name: &str) -> Scenario {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(format!("{name}.toml"));
    let path = scenario::find(&file.display().to_string()).expect("the scenario is there");
    let text = std::fs::read_to_string(&path).expect("readable");
    Scenario::parse(name, &text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// A run in which hypervisors let VMs live past their deadlines, until a checker sees it.
fn violated() -> &'static Page {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| {
        let subject = Blixard(Sabotage::from(Lie::Deadlines));
        let scenario = scenario("leases");
        let found = (0..50).find_map(|seed| {
            let mut entries: Vec<Entry> = Vec::new();
            let report = subject.run(&scenario, seed, Some(&mut entries));
            report.violation.is_some().then_some((entries, report))
        });
        let (entries, report) = found.expect("a VM that outlives its deadline is found");
        let header = Header {
            description: "<b>hypervisors</b> that let VMs live past their \"deadlines\"".into(),
            reproduce: "cargo sim --seed 1 --scenario leases".into(),
            explanation: vec![
                ExplanationLine { text: "It begins.".into(), event: Some(entries.len() - 400) },
                ExplanationLine { text: "Nobody </script> sees it.".into(), event: None },
                ExplanationLine { text: "It ends.".into(), event: Some(entries.len() - 1) },
            ],
        };
        page(&header, &entries, &report)
    })
}

/// A browser that shows the page of the violated run; `None` where there is no browser.
fn opened(place: &str) -> Option<(Browser, &'static Page)> {
    let browser = Browser::open()?;
    let page = violated();
    browser.visit(&page.file, place);
    browser.settle();
    Some((browser, page))
}

/// Nothing was asked for but the page itself (and what is inside it), and the console is silent.
fn is_quiet(browser: &Browser) {
    let foreign: Vec<String> = browser
        .requests()
        .into_iter()
        .filter(|address| {
            !address.starts_with("file://") && !address.starts_with("data:,") && address != "about:blank"
        })
        .collect();
    assert_eq!(foreign, [""; 0], "the page fetches");
    assert_eq!(browser.console(), [""; 0], "the console is not silent");
}

#[test]
fn it_opens_on_the_violation_and_fetches_nothing() {
    let Some((browser, page)) = opened("") else { return };
    assert!(page.violation_at > 0.0);
    let [from, to] = ["view.from", "view.to"].map(|end| browser.number(end));
    assert!((from..to).contains(&page.violation_at), "{} is not within {from}..{to}", page.violation_at);
    assert!(to - from < browser.number("run.end") / 2.0, "the violation is not singled out");
    assert_eq!(browser.text("document.getElementById('outcome').textContent"), "safety");
    assert!(browser.text("document.querySelector('.verdict').textContent").starts_with("leases"));
    assert!(browser.number("drawn.arrows") > 0.0 && browser.number("drawn.bars") > 10.0);
    // What a scenario or a checker says stays text.
    assert_eq!(browser.number("document.querySelectorAll('.description b, .story script').length"), 0.0);
    assert!(browser.text("document.querySelector('.description').textContent").contains("<b>hyper"));
    is_quiet(&browser);
    // The policy is in force: a request would be refused, and seen here.
    browser.run(
        "new Image().src = 'http://127.0.0.1:9/picture.png'; fetch('http://127.0.0.1:9/').catch(() => 0)",
    );
    browser
        .wait("return 1", |_| browser.console().iter().any(|line| line.contains("Content Security Policy")));
}

#[test]
fn a_filter_changes_what_is_drawn() {
    let Some((browser, _)) = opened("") else { return };
    let before = browser.number("drawn.arrowsInSight");
    browser.keys("f");
    browser.until("!document.getElementById('filter-panel').hidden");
    browser.click("input[data-choice='Messages/append']");
    browser.settle();
    let after = browser.number("drawn.arrowsInSight");
    assert!(after < before, "{after} messages without appends, {before} with");
    browser.click("button[data-all='Messages']");
    browser.settle();
    assert_eq!(browser.number("drawn.arrowsInSight"), before, "all of them again");
    browser.click("button[data-all='Messages']");
    browser.settle();
    assert_eq!(browser.number("drawn.arrowsInSight"), 0.0, "and none of them");
    browser.click("input[data-choice='Rows/host 2']");
    browser.until("!document.querySelector('#gutter button[data-lane=\"2\"]')");
    browser.run("document.getElementById('vm').selectedIndex = 1; document.getElementById('vm').onchange()");
    browser.settle();
    let shown = browser.number("list.shown.length");
    assert!(shown > 0.0 && shown < browser.number("run.count"), "{shown} events of one VM");
    is_quiet(&browser);
}

#[test]
fn a_search_finds_and_goes_on() {
    let Some((browser, _)) = opened("") else { return };
    browser.keys("/");
    browser.keys("leads term");
    browser.until("search.matches.length > 0");
    browser.keys("\u{E007}");
    browser.settle();
    let first = browser.number("chosen.event");
    // Every word is sought for itself: this may also be a leader that leads no more.
    let text = browser.text(&format!("textOf({first})"));
    assert!(text.starts_with("leads") && text.contains("term="), "{text}");
    let at = browser.number(&format!("run.at[{first}]"));
    assert!((browser.number("view.from")..browser.number("view.to")).contains(&at), "the match is in sight");
    assert!(browser.text("document.getElementById('matches').textContent").contains(" of "));
    browser.click("#next");
    let (second, matches) = (browser.number("chosen.event"), browser.number("search.matches.length"));
    assert!(second != first || matches < 2.0, "the next match is another one");
    browser.click("#previous");
    assert_eq!(browser.number("chosen.event"), first);
    browser.keys("\u{E00C}");
    browser.click("#search");
    browser.keys("no such event anywhere");
    browser.until("document.getElementById('matches').textContent === 'no match'");
    is_quiet(&browser);
}

#[test]
fn a_link_to_an_event_shows_it() {
    let Some((browser, page)) = opened("#e1234") else { return };
    assert_eq!(browser.number("chosen.event"), 1234.0);
    assert!(browser.run("return run.at[1234] > view.from && run.at[1234] < view.to") == true);
    assert!(browser.text("document.getElementById('selected').textContent").contains("#e1234"));
    // A step of the explanation leads to its event, the verdict to the violation.
    browser.click(".explanation li:first-child a");
    browser.settle();
    assert_eq!(browser.number("chosen.event"), (page.events - 400) as f64);
    browser.click("#to-violation");
    browser.settle();
    assert!((browser.number("view.from")..browser.number("view.to")).contains(&page.violation_at));
    // What is chosen in the picture is in the address.
    browser.run("choose(77)");
    assert_eq!(browser.text("location.hash"), "#e77");
    is_quiet(&browser);
}

#[test]
fn keys_the_wheel_and_the_pointer_work() {
    let Some((browser, _)) = opened("") else { return };
    let length = "view.to - view.from";
    let [x, y] = ["left + 300", "top + 200"].map(|place| {
        let place = place.replace("left", "box.left").replace("top", "box.top");
        let script =
            format!("const box = document.getElementById('stage').getBoundingClientRect(); return {place}");
        browser.run(&script).as_f64().expect("a place")
    });
    let before = browser.number(length);
    browser.keys("+");
    browser.settle();
    let zoomed = browser.number(length);
    assert!(zoomed < before, "plus zooms in");
    browser.wheel(x, y, 200);
    browser.wait(&format!("return {length}"), |now| now.as_f64().is_some_and(|now| now > zoomed));
    browser.settle();
    let from = browser.number("view.from");
    browser.keys("\u{E014}");
    browser.settle();
    assert!(browser.number("view.from") > from, "the right arrow key goes on in time");
    browser.keys("0");
    browser.settle();
    assert!(browser.number(length) >= browser.number("run.end"), "nought shows the whole run");
    browser.keys("v");
    browser.settle();
    assert!(browser.number(length) < browser.number("run.end"), "v goes to the violation");
    // Over a message the pointer is told what it is.
    browser.run("document.querySelector('.explanation').open = false");
    browser.settle();
    let place = "const box = document.getElementById('stage').getBoundingClientRect();
        const inside = hits.arrows.map(endsOf).find(e => e.x0 > 20 && e.x1 < view.width - 20 && e.x1 - e.x0 < 90 && Math.abs(e.y1 - e.y0) > 30
            && Math.min(e.y0, e.y1) > 20 && Math.max(e.y0, e.y1) < view.height - 20);";
    let [x, y] = ["box.left + (inside.x0 + inside.x1) / 2", "box.top + (inside.y0 + inside.y1) / 2"]
        .map(|at| browser.run(&format!("{place} return {at}")).as_f64().expect("an arrow is in sight"));
    browser.point(x, y);
    browser.until("!document.getElementById('tip').hidden");
    is_quiet(&browser);
}

#[test]
fn a_hundred_thousand_events_open_in_time() {
    let Some(browser) = Browser::open() else { return };
    let scenario = scenario("everything");
    let mut entries: Vec<Entry> = Vec::new();
    let mut last = None;
    for seed in 0..100 {
        entries.clear();
        last = Some(Blixard::default().run(&scenario, seed, Some(&mut entries)));
        if entries.len() >= MANY {
            break;
        }
    }
    let report = last.expect("seeds were run");
    assert!(entries.len() >= MANY, "no seed has that many events");
    entries.truncate(MANY);
    let page = page(&Header::default(), &entries, &report);
    assert!(page.bytes < BYTES_MAX, "{} bytes", page.bytes);
    let opens_ms = browser.visit(&page.file, "");
    eprintln!("{MANY} events: {} bytes, open in {opens_ms} ms", page.bytes);
    assert!(opens_ms < OPENS_MS_MAX, "it took {opens_ms} ms");
    assert_eq!(browser.number("run.count"), MANY as f64);
    // The whole run and a close look are drawn at once.
    for place in ["wholeRun()", "setView(run.end * 0.5, run.end * 0.5 + 5e8)"] {
        browser.run(place);
        browser.settle();
        assert!(browser.number("drawn.points + drawn.bars") > 20.0, "{place} shows nothing");
    }
    is_quiet(&browser);
}
