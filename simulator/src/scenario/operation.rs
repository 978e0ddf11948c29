//! The `[[operation]]` tables: what clients do, one by one, where a scenario does not leave it to chance.

use blixard_node::time::Duration;
use toml::de::DeTable;

use super::reader::{Complaint, Key, Table};
use super::value::{Value, words};

words! {
    /// What a client asks for.
    pub enum Call {
        /// Lists a new VM.
        Create = "create",
        /// Wants one running.
        Start = "start",
        /// Wants one stopped.
        Stop = "stop",
        /// Removes one.
        Delete = "delete",
        /// Gives one another spec.
        Update = "update",
        /// Looks at one.
        Get = "get",
        /// Looks at all.
        List = "list",
    }
}

/// One `[[operation]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it begins, counted from the end of the warm-up; later when its client is not free by then.
    pub at: Duration,
    /// The client that does it, from 0.
    pub client: u64,
    /// The node id that it asks first; any when that is none of the hosts' then.
    pub node: u64,
    /// What.
    pub call: Call,
    /// The VM `vm-N` it is about.
    pub vm: u64,
    /// The number of the stream that the rest comes from: the spec, retries, waits.
    pub draws: u64,
}

const KEYS: [&str; 6] = ["at", "client", "node", "call", "vm", "draws"];

impl Operation {
    /// Its keys, in the order of the documentation.
    #[must_use]
    pub fn keys() -> Vec<Key> {
        let key = |name, form, default: &str, doc| Key { name, form, default: default.into(), doc };
        vec![
            key(
                "at",
                Duration::FORM,
                "required",
                "When it begins, counted from the end of the warm-up; later when its client is not free by then.",
            ),
            key("client", u64::FORM, "0", "The client that does it, from 0, below `workload.clients`."),
            key("node", u64::FORM, "1", "The node id that it asks first."),
            key("call", Call::FORM, "required", "What it asks for."),
            key("vm", u64::FORM, "0", "N of the VM `vm-N` it is about, below `workload.vms`."),
            key(
                "draws",
                u64::FORM,
                "by its place",
                "The stream of the seed that the rest comes from: the spec, retries, waits.",
            ),
        ]
    }

    pub(super) fn read(at: usize, place: usize, table: &DeTable<'_>) -> Result<Self, Complaint> {
        let mut table = Table::new("[[operation]]", at, table);
        let missing = |key: &str| Complaint::new(at, format!("this [[operation]] has no `{key}`"));
        let operation = Self {
            at: table.take("at")?.ok_or_else(|| missing("at"))?,
            client: table.take("client")?.unwrap_or(0),
            node: table.take("node")?.unwrap_or(1),
            call: table.take("call")?.ok_or_else(|| missing("call"))?,
            vm: table.take("vm")?.unwrap_or(0),
            draws: table.take("draws")?.unwrap_or(place as u64),
        };
        table.finish(&KEYS)?;
        Ok(operation)
    }
}
