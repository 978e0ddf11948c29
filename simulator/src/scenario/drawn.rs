//! The `[swarm]` table: what of a scenario is drawn from the seed, and what stays as it is written.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::reader::{Complaint, Key, Table, nearest};
use super::value::{Value, form_of, words};

words! {
    /// A part of a scenario that can be drawn.
    pub enum Part {
        /// Sizes, roles, storage, and the settings of consensus, leases and sessions.
        Cluster = "cluster",
        /// How long the run lasts, and whether a quorum is always kept.
        Run = "run",
        /// What the clients do.
        Workload = "workload",
        /// The links.
        Network = "network",
        /// The disks.
        Disk = "disk",
        /// The clocks.
        Clock = "clock",
        /// The processes.
        Process = "process",
        /// The hypervisors.
        Hypervisor = "hypervisor",
        /// Faults of the kinds that the file does not name, beside those that it does.
        Faults = "faults",
        /// Which sites of the simulator do what is legal and rare.
        Buggify = "buggify",
    }
}

/// What is drawn. Nothing by default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Swarm {
    /// Parts drawn whole.
    pub parts: BTreeSet<Part>,
    /// Single keys that are drawn: part and key.
    pub keys: BTreeSet<(Part, String)>,
    /// Keys of parts drawn whole that the file writes, and that therefore stay.
    pub kept: BTreeSet<(Part, String)>,
}

impl Swarm {
    /// Its table in the file.
    pub const TABLE: &'static str = "swarm";

    /// Everything drawn.
    #[must_use]
    pub fn all() -> Self {
        Self { parts: Part::ALL.iter().copied().collect(), ..Self::default() }
    }

    /// Nothing is drawn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.keys.is_empty()
    }

    /// Whether anything of the part is drawn.
    #[must_use]
    pub fn draws(&self, part: Part) -> bool {
        self.parts.contains(&part) || self.keys.iter().any(|(of, _)| *of == part)
    }

    /// Whether this key is drawn.
    #[must_use]
    pub fn draws_key(&self, part: Part, key: &str) -> bool {
        let named = |set: &BTreeSet<(Part, String)>| set.iter().any(|(of, name)| *of == part && name == key);
        named(&self.keys) || (self.parts.contains(&part) && !named(&self.kept))
    }

    /// Its keys, for the documentation.
    #[must_use]
    pub fn keys() -> Vec<Key> {
        vec![Key {
            name: "draw",
            form: "a list of parts such as `\"network\"`, and of keys such as `\"cluster.lease_ttl\"`",
            default: "[]".into(),
            doc: "What is drawn anew from each seed. Of a part that is drawn whole, the keys that the file writes stay as written; parts: `cluster`, `run`, `workload`, `network`, `disk`, `clock`, `process`, `hypervisor`, `faults`, `buggify`.",
        }]
    }

    /// Reads the table; `known` are the keys of each part.
    pub(super) fn read(
        table: &mut Table<'_, '_>,
        known: impl Fn(Part) -> Vec<&'static str>,
    ) -> Result<Self, Complaint> {
        let mut swarm = Self::default();
        let Some((span, value)) = table.raw("draw") else {
            table.finish(&["draw"])?;
            return Err(
                table.complain("draw", "[swarm] says what is drawn: write such as draw = [\"network\"]")
            );
        };
        let DeValue::Array(list) = value else {
            let what = form_of(value);
            return Err(Complaint::new(span.start, format!("`draw`: {what} where a list of parts is due")));
        };
        for each in list {
            let at = each.span().start;
            let refuse = |why: String| Complaint::new(at, format!("`draw`: {why}"));
            let DeValue::String(text) = each.get_ref() else {
                return Err(refuse(format!("{} where a part's name is due", form_of(each.get_ref()))));
            };
            let Some((part, key)) = text.split_once('.') else {
                swarm.parts.insert(Part::read(each.get_ref()).map_err(refuse)?);
                continue;
            };
            let part = Part::read(&DeValue::String(part.into())).map_err(refuse)?;
            let keys = known(part);
            if !keys.contains(&key) {
                let hint = nearest(key, keys.iter().copied())
                    .map_or(String::new(), |near| format!("; did you mean \"{part}.{near}\"?"));
                return Err(refuse(format!("[{part}] has no key {key:?}{hint}")));
            }
            swarm.keys.insert((part, key.to_owned()));
        }
        table.finish(&["draw"])?;
        Ok(swarm)
    }

    /// The lines of the table.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let parts = self.parts.iter().map(|part| format!("\"{part}\""));
        let keys = self.keys.iter().map(|(part, key)| format!("\"{part}.{key}\""));
        vec![format!("draw = [{}]", parts.chain(keys).collect::<Vec<_>>().join(", "))]
    }
}
