//! Feature levels: which kinds of commands, messages and state a program knows.
//!
//! Hosts are upgraded one by one, so for a time programs of several versions work in one cluster. Each tells with its `Join`, and again
//! with each heartbeat, the newest level it speaks. The *cluster's* level is part of the replicated state: the leader raises it by a
//! command when every member has told that it speaks the higher one, and it never falls. What a program of a lower level would not
//! understand, or carry out otherwise, is said and proposed only at its level.
//!
//! | level | since then |
//! |---|---|
//! | 1 | all that was there before there were levels |
//! | 2 | [`Action::RaiseLevel`]; a cordon has a reason |
//!
//! What a host announces is a label of its spec. Programs of level 1 keep, hash and hand on labels without knowing this one, so that a
//! replica that was theirs before it is upgraded has what all others have.

use std::fmt;

use crate::command::{Action, Command, HostSpec};
use crate::message::Body;
use crate::request::{Request, Write};
use crate::spec::Labels;

/// A feature level, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u32);

impl Level {
    /// What stood before there were levels.
    pub const FIRST: Self = Self(1);
    /// The newest that this program speaks.
    pub const NEWEST: Self = Self(2);
    /// The first with the command that raises the level.
    pub const RAISED: Self = Self(2);
    /// The first that keeps a cordon's reason.
    pub const CORDON_REASON: Self = Self(2);
    /// The label by which a host announces its level; absent at the first one.
    pub const LABEL: &'static str = "blixard.level";

    /// As stored and sent: absent at the first level, so that bytes are those of programs that know no levels.
    pub(crate) fn number(self) -> u32 {
        if self == Self::FIRST { 0 } else { self.0 }
    }

    /// The level that `number` stands for.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(number.max(Self::FIRST.0))
    }

    /// What `labels` announce. What makes no sense announces nothing.
    #[must_use]
    pub fn announced(labels: &Labels) -> Self {
        let told = labels.get(Self::LABEL).and_then(|level| level.parse().ok());
        told.map_or(Self::FIRST, Self::from_number)
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl HostSpec {
    /// The level it announces.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::announced(&self.labels)
    }

    /// The same with `level` announced.
    #[must_use]
    pub fn announcing(mut self, level: Level) -> Self {
        if level == Level::FIRST {
            self.labels.remove(Level::LABEL);
        } else {
            self.labels.insert(Level::LABEL.into(), level.to_string());
        }
        self
    }
}

impl Write {
    /// The lowest level that carries it out.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::CordonHost { reason, .. } if !reason.is_empty() => Level::CORDON_REASON,
            _ => Level::FIRST,
        }
    }

    /// What of it needs its level, for people.
    #[must_use]
    pub fn newest_part(&self) -> &'static str {
        match self {
            Self::CordonHost { .. } => "a reason for a cordon",
            _ => "this request",
        }
    }
}

impl Request {
    /// The lowest level that understands it.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Write { write, .. } => write.level(),
            _ => Level::FIRST,
        }
    }

    /// What of it needs its level, for people.
    #[must_use]
    pub fn newest_part(&self) -> &'static str {
        match self {
            Self::Write { write, .. } => write.newest_part(),
            _ => "this request",
        }
    }
}

impl Command {
    /// The lowest level that carries it out.
    #[must_use]
    pub fn level(&self) -> Level {
        match &self.action {
            Action::Client { write, .. } => write.level(),
            Action::RaiseLevel { to } => Level::RAISED.max(*to),
            _ => Level::FIRST,
        }
    }
}

impl Body {
    /// The lowest level that understands it. What else is new in a message is a field that lower levels leave aside.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Forward { request, .. } => request.level(),
            _ => Level::FIRST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Place;
    use crate::ids::{ClientId, NodeId, RequestId, Revision};
    use crate::time::WallMs;

    #[test]
    fn a_level_is_announced_by_a_label() {
        let spec = HostSpec::default();
        assert_eq!(spec.level(), Level(1));
        assert_eq!(spec.clone().announcing(Level(2)).level(), Level(2));
        assert_eq!(spec.clone().announcing(Level(2)).announcing(Level(1)), spec);
    }

    #[test]
    fn an_announcement_that_makes_no_sense_is_none() {
        for label in ["", "x", "-1", "0", "99999999999"] {
            let labels = Labels::from([(Level::LABEL.into(), label.into())]);
            assert_eq!(Level::announced(&labels), Level::FIRST, "{label:?}");
        }
    }

    /// What programs below its level would misread is never sent to them, so each part must know where it stands.
    #[test]
    fn what_holds_something_new_is_of_its_level() {
        let cordon =
            |reason: &str| Write::CordonHost { node: NodeId(1), cordoned: true, reason: reason.into() };
        let request = |write| {
            let id = RequestId { client: ClientId(1), sequence: 1, born: Revision(0) };
            Request::Write { id, write }
        };
        let client = |write| {
            let id = RequestId { client: ClientId(1), sequence: 1, born: Revision(0) };
            Command { at: WallMs(1), action: Action::Client { id, write, place: Place::Unneeded } }
        };
        let forward = |request| Body::Forward { ticket: 1, request: Box::new(request) };
        for (reason, level) in [("", Level(1)), ("new disks", Level(2))] {
            assert_eq!(cordon(reason).level(), level);
            assert_eq!(request(cordon(reason)).level(), level);
            assert_eq!(client(cordon(reason)).level(), level);
            assert_eq!(forward(request(cordon(reason))).level(), level);
        }
        let old = Request::TransferLeader { to: None };
        assert_eq!((old.level(), old.newest_part()), (Level(1), "this request"));
        assert_eq!(request(cordon("new disks")).newest_part(), "a reason for a cordon");
        let raise = |to| Command { at: WallMs(1), action: Action::RaiseLevel { to } }.level();
        assert_eq!([raise(Level(1)), raise(Level(2)), raise(Level(3))], [Level(2), Level(2), Level(3)]);
        assert_eq!(Body::Nudge.level(), Level(1));
    }
}
