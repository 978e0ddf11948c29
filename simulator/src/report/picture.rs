//! What is drawn, whatever was run: lanes in which time goes to the right, with events, arrows, bars and bands on them.

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// What befalls everybody: faults, phases, the operator.
    World,
    /// A host.
    Host,
    /// A client.
    Client,
}

impl Group {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::World => "world",
            Self::Host => "host",
            Self::Client => "client",
        }
    }
}

/// A row of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) group: Group,
    /// How many rows its stacked bars take.
    pub(super) rows: u16,
}

/// A kind of event or message: what it is called, and how it looks. The page knows the styles and shows others plainly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) style: &'static str,
}

/// One line of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Nanoseconds since the run began.
    pub(super) at: u64,
    /// Place among the lanes.
    pub(super) lane: u16,
    /// Place among the kinds of events.
    pub(super) kind: u16,
    /// The VM it is about, or 0.
    pub(super) vm: u64,
    /// The event in words, without its time and place.
    pub(super) text: String,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives.
    Arrives = 0,
    /// It arrives as a second copy.
    Again = 1,
    /// It is lost on its way.
    Lost = 2,
    /// It gets there, and nobody takes it.
    Refused = 3,
}

/// A message from one lane to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrow {
    /// Place among the kinds of messages.
    pub(super) kind: u16,
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) at: u64,
    pub(super) until: u64,
    pub(super) fate: Fate,
    /// Places among the events: where it leaves, and where it arrives or is lost.
    pub(super) left: usize,
    pub(super) came: usize,
}

/// Something that lasts on one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// Place among the kinds of bars.
    pub(super) kind: u16,
    pub(super) lane: u16,
    /// Among the stacked bars of the lane.
    pub(super) row: u16,
    pub(super) from: u64,
    pub(super) until: u64,
    /// Bars of one tint share a colour: a term, a VM, an outcome.
    pub(super) tint: u64,
    /// When what it stands for took effect, if it did: an operation's linearization point.
    pub(super) point: Option<u64>,
    /// Places among the events.
    pub(super) began: usize,
    pub(super) ended: Option<usize>,
    pub(super) label: String,
}

/// Something that befalls several lanes for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Band {
    pub(super) name: String,
    /// Whom it befalls, in words.
    pub(super) whom: String,
    pub(super) lanes: Vec<u16>,
    /// Among the stacked bands.
    pub(super) row: u16,
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) event: usize,
}

/// The violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: u64,
    /// The last event until then.
    pub(super) event: usize,
    /// Whom it is about.
    pub(super) lanes: Vec<u16>,
}

/// The whole picture. Events are in the order of the trace, everything else in the order in which it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) lanes: Vec<Lane>,
    pub(super) event_kinds: Vec<Kind>,
    pub(super) message_kinds: Vec<Kind>,
    pub(super) bar_kinds: Vec<Kind>,
    pub(super) events: Vec<Event>,
    pub(super) arrows: Vec<Arrow>,
    pub(super) bars: Vec<Bar>,
    pub(super) bands: Vec<Band>,
    /// When the run ended.
    pub(super) end: u64,
    /// What did not hold.
    pub(super) violation: Option<Mark>,
}

/// Puts intervals that come in the order of their beginnings into rows in which none overlap.
#[derive(Debug, Default)]
pub(super) struct Rows {
    free_from: Vec<u64>,
}

impl Rows {
    /// The first row that is free at `from`; it is taken until `until`.
    pub(super) fn place(&mut self, from: u64, until: u64) -> u16 {
        let found = self.free_from.iter().position(|free| *free <= from);
        let row = found.unwrap_or(self.free_from.len());
        if row == self.free_from.len() {
            self.free_from.push(until);
        } else {
            self.free_from[row] = until;
        }
        u16::try_from(row).unwrap_or(u16::MAX)
    }

    pub(super) fn len(&self) -> u16 {
        u16::try_from(self.free_from.len()).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_in_one_row_do_not_overlap() {
        let mut rows = Rows::default();
        let placed = [(0, 10), (1, 3), (2, 9), (3, 4), (10, 11)].map(|(from, until)| rows.place(from, until));
        assert_eq!(placed, [0, 1, 2, 1, 0]);
        assert_eq!(rows.len(), 3);
    }
}
