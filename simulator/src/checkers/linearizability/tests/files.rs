//! Recorded histories of other systems with known verdicts, read where they are at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::*;

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/histories");
    folder.join("verdicts.txt").is_file().then_some(folder)
}

/// A Jepsen log of one register: process, type, operation, value.
fn parse_register(text: &str) -> Vec<Timed<RegisterOp>> {
    let mut history: Vec<Timed<RegisterOp>> = Vec::new();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut dropped = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let at = at as u64;
        let Some((_, line)) = line.split_once("jepsen.util - ") else { continue };
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        let [process, kind, function, value] = fields[..] else { panic!("a line of four fields: {line}") };
        let number = |text: &str| text.parse::<u8>().expect("a number");
        if kind == ":invoke" {
            let op = match function {
                ":read" => Read(None),
                ":write" => Write(number(value)),
                ":cas" => {
                    let (from, to) = value.trim_matches(['[', ']']).split_once(' ').expect("two numbers");
                    Swap(number(from), number(to), None)
                }
                other => panic!("operation {other}"),
            };
            open.insert(process, history.len());
            history.push(endless(op, at));
            continue;
        }
        let Some(number_of_op) = open.remove(process) else { panic!("an end without a beginning: {line}") };
        let timed = &mut history[number_of_op];
        match (kind, &mut timed.op, value) {
            (":info", ..) => continue,
            (":fail", Read(_), ":timed-out") => {
                dropped.push(number_of_op);
                continue;
            }
            (":ok", Read(seen), "nil") => *seen = None,
            (":ok", Read(seen), value) => *seen = Some(number(value)),
            (":ok", Write(_), _) => {}
            (":ok", Swap(_, _, done), _) => *done = Some(true),
            (":fail", Swap(_, _, done), _) => *done = Some(false),
            (kind, op, _) => panic!("{op:?} ended {kind}: {line}"),
        }
        timed.returned = Some(at);
    }
    let unanswered = |(number, timed): &(usize, Timed<RegisterOp>)| {
        !(dropped.contains(number) || timed.returned.is_none() && matches!(timed.op, Read(_)))
    };
    history.into_iter().enumerate().filter(unanswered).map(|(_, timed)| timed).collect()
}

/// A key of a key-value store of texts.
#[derive(Clone, Copy, Debug)]
struct Store;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum StoreOp {
    Get(Rc<str>),
    Put(Rc<str>),
    Append(Rc<str>),
}

impl Model for Store {
    type State = Rc<str>;
    type Op = StoreOp;

    fn initial(&self) -> Rc<str> {
        "".into()
    }

    fn step(&self, state: &Rc<str>, op: &StoreOp) -> Option<Rc<str>> {
        match op {
            StoreOp::Get(seen) => (seen == state).then(|| state.clone()),
            StoreOp::Put(text) => Some(text.clone()),
            StoreOp::Append(text) => Some(format!("{state}{text}").into()),
        }
    }

    fn only_looks(&self, op: &StoreOp) -> bool {
        matches!(op, StoreOp::Get(_))
    }
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line}"));
    let rest = rest.trim_start();
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').expect("a closing quote").0,
        None => rest.split([',', '}']).next().unwrap_or(rest),
    }
}

/// A key-value store's log: one map a line.
fn parse_store(text: &str) -> BTreeMap<String, Vec<Timed<StoreOp>>> {
    let mut histories: BTreeMap<String, Vec<Timed<StoreOp>>> = BTreeMap::new();
    let mut open: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let (process, kind) = (field(line, ":process"), field(line, ":type"));
        let value: Rc<str> = field(line, ":value").into();
        let op = match field(line, ":f") {
            ":get" => StoreOp::Get(value),
            ":put" => StoreOp::Put(value),
            ":append" => StoreOp::Append(value),
            other => panic!("operation {other}"),
        };
        if kind == ":invoke" {
            let key = field(line, ":key").to_owned();
            let history = histories.entry(key.clone()).or_default();
            open.insert(process, (key, history.len()));
            history.push(Timed { op, invoked: at as u64, returned: None });
        } else {
            assert_eq!(kind, ":ok", "an answer");
            let (key, number) = open.remove(process).expect("a beginning");
            let timed = &mut histories.get_mut(&key).expect("a history")[number];
            *timed = Timed { op, returned: Some(at as u64), ..*timed };
        }
    }
    for history in histories.values_mut() {
        history.retain(|timed| timed.returned.is_some() || !matches!(timed.op, StoreOp::Get(_)));
    }
    histories
}

fn check_file(name: &str, text: &str) -> Result<(), String> {
    let verdict = if name.starts_with("etcd") {
        check(&Register, &parse_register(text), Limits::default())
    } else {
        let histories = parse_store(text);
        let slices = histories.iter().map(|(key, history)| (key, history.as_slice()));
        match check_all(&Store, slices, Limits::default()) {
            Ok(()) => Verdict::Linearizable,
            Err((_, verdict)) => verdict,
        }
    };
    match verdict {
        Verdict::Linearizable => Ok(()),
        Verdict::Illegal(illegal) => Err(format!("violation: {illegal:?}")),
        Verdict::Undecided { reason } => panic!("{name}: {reason}"),
    }
}

#[test]
fn agrees_with_every_known_verdict() {
    let Some(folder) = folder() else {
        eprintln!("skipped: no recorded histories beside the repository");
        return;
    };
    let verdicts = std::fs::read_to_string(folder.join("verdicts.txt")).expect("readable");
    let mut count = 0;
    for line in verdicts.lines() {
        let (name, expected) = line.split_once(' ').expect("name and verdict");
        let text = std::fs::read_to_string(folder.join(name)).expect("readable");
        let found = check_file(name, &text);
        assert_eq!(found.is_ok(), expected == "linearizable", "{name}: {found:?}");
        count += 1;
    }
    assert!(count > 0, "verdicts.txt names histories");
}

/// A log in the form of the recorded ones, so that the parser is tested without them.
#[test]
fn reads_such_logs() {
    let log = "INFO  jepsen.util - 0\t:invoke\t:write\t3\n\
               INFO  jepsen.util - 1\t:invoke\t:read\tnil\n\
               INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n\
               INFO  jepsen.util - 1\t:ok\t:read\t3\n\
               INFO  jepsen.util - 2\t:invoke\t:cas\t[3 4]\n\
               INFO  jepsen.util - 2\t:fail\t:cas\t[3 4]\n";
    let history = parse_register(log);
    assert_eq!(
        history,
        [endless(Write(3), 0), timed(Read(Some(3)), 1, 3), timed(Swap(3, 4, Some(false)), 4, 5)]
    );
    let Verdict::Illegal(illegal) = verdict(&history) else { panic!("3 was there to be swapped") };
    assert_eq!(illegal.operation, 2);
    let store = "{:process 0, :type :invoke, :f :append, :key \"a\", :value \"x\"}\n\
                 {:process 0, :type :ok, :f :append, :key \"a\", :value \"x\"}\n\
                 {:process 1, :type :invoke, :f :get, :key \"a\", :value nil}\n\
                 {:process 1, :type :ok, :f :get, :key \"a\", :value \"x\"}\n";
    assert_eq!(check_file("store", store), Ok(()));
    assert!(
        check_file("store", &store.replace("value \"x\"}\n{:process 1", "value \"y\"}\n{:process 1"))
            .is_err()
    );
}
