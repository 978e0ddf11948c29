//! A property that did not hold.

use std::fmt;

use blixard_node::time::Time;

/// The first violation of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's stable name.
    pub property: &'static str,
    /// What was seen, with the values.
    pub message: String,
    /// When, at true time.
    pub at: Time,
    /// Whom and what it is about.
    pub subjects: Subjects,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}: {}", self.property, self.at, self.message)
    }
}

/// Whom and what a violation is about, as far as its checker says: where an explanation begins.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subjects {
    /// Ids of nodes, the one that was seen last at the end.
    pub nodes: Vec<u64>,
    /// A VM's id.
    pub vm: Option<u64>,
    /// A VM's name.
    pub name: Option<String>,
    /// An index of the log.
    pub index: Option<u64>,
    /// A term.
    pub term: Option<u64>,
    /// Ids of client operations, as in the trace.
    pub operations: Vec<u64>,
}

/// What a single checker says; the time is added by its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) property: &'static str,
    pub(crate) message: String,
    pub(crate) subjects: Box<Subjects>,
}

impl Breach {
    pub(crate) fn new(property: &'static str, message: String) -> Self {
        Self { property, message, subjects: Box::default() }
    }

    /// Names nodes it is about.
    pub(crate) fn nodes(mut self, nodes: impl IntoIterator<Item = blixard_node::ids::NodeId>) -> Self {
        self.subjects.nodes.extend(nodes.into_iter().map(|node| node.0));
        self
    }

    /// Names the VM it is about.
    pub(crate) fn vm(mut self, vm: blixard_node::ids::VmId) -> Self {
        self.subjects.vm = Some(vm.0);
        self
    }

    /// Names the index it is about.
    pub(crate) fn index(mut self, index: u64) -> Self {
        self.subjects.index = Some(index);
        self
    }

    /// Names the term it is about.
    pub(crate) fn term(mut self, term: u64) -> Self {
        self.subjects.term = Some(term);
        self
    }

    /// Names the VM by its name.
    pub(crate) fn named(mut self, name: &blixard_node::spec::VmName) -> Self {
        self.subjects.name = Some(name.to_string());
        self
    }

    /// Names client operations.
    pub(crate) fn operations(mut self, operations: impl IntoIterator<Item = u64>) -> Self {
        self.subjects.operations.extend(operations);
        self
    }
}
