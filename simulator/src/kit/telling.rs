//! Messages, requests and answers in the trace: what they are called, and a fingerprint of what they hold.

use std::fmt::Debug;

use blixard_node::state::hash::hash_of;

use super::Spec;
use super::world::World;
use crate::trace::{Kind, text};

impl<S: Spec> World<'_, S> {
    /// Tells what the thing of this number, which the next line is about, holds.
    pub(super) fn tell(&mut self, host: Option<usize>, what: &impl Debug, number: u64) {
        let shown = format!("{what:?}");
        let end = shown.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(shown.len());
        let [first, second] = text::pack(&shown[..end]);
        self.log(Kind::Subject, host, [first, second, number, hash_of(&shown), 0]);
    }
}
