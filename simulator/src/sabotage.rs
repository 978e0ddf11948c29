//! What is broken on purpose, to prove that the checkers notice: a backend that breaks its word, or a bug in node code.

macro_rules! lies {
    ($($(#[doc = $wrong:literal])+ $lie:ident = $name:literal, [$($property:literal),* $(,)?];)*) => {
        /// How a simulated backend breaks its word.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum Lie {
            /// Not at all.
            #[default]
            None,
            $($(#[doc = $wrong])+ $lie,)*
        }

        impl Lie {
            /// All of them.
            pub const ALL: &'static [Lie] = &[$(Lie::$lie,)*];

            /// Its stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    Self::None => "none",
                    $(Self::$lie => $name,)*
                }
            }

            /// What is wrong, in a sentence.
            #[must_use]
            pub fn wrong(self) -> &'static str {
                match self {
                    Self::None => "Nothing.",
                    $(Self::$lie => concat!($($wrong),+).trim_ascii(),)*
                }
            }

            /// The properties of which it breaks one.
            #[must_use]
            pub fn shown_by(self) -> &'static [&'static str] {
                match self {
                    Self::None => &[],
                    $(Self::$lie => &[$($property),*],)*
                }
            }
        }
    };
}

// A name, and the properties that it breaks one of.
lies! {
    /// Disks say that a sync succeeded and keep nothing.
    Syncs = "lying-sync",
        ["durability", "election-safety", "log-matching", "leader-completeness", "state-machine-safety", "state-hash",
         "reopens", "panic"];
    /// Disks hand out what has rotted as it is.
    Checksums = "checksum-ignored",
        ["durability", "election-safety", "log-matching", "leader-completeness", "state-machine-safety", "state-hash",
         "reopens", "panic"];
    /// Hypervisors let VMs live past their deadlines.
    Deadlines = "deadline-ignored",
        ["single-run", "leases"];
    /// Hypervisors take longer than the kill grace to kill a VM whose deadline has passed.
    KillGrace = "kill-grace-exceeded",
        ["single-run", "leases"];
    /// The hosts' clocks drift apart faster than the cluster's bound.
    Clocks = "clock-past-bound",
        ["single-run", "leases"];
    /// Hypervisors leave out runs when they are asked what runs.
    Lists = "list-incomplete",
        ["confirmation", "single-run", "capacity", "liveness"];
    /// Hypervisors call a VM stopped as soon as they have asked it to stop.
    Stops = "stop-told-early",
        ["confirmation", "single-run", "capacity", "liveness"];
}

/// What is broken. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// A backend that breaks its word.
    pub lie: Lie,
    /// A bug planted in node code.
    #[cfg(feature = "planted")]
    pub planted: blixard_node::planted::Planted,
}

impl From<Lie> for Sabotage {
    /// A backend that breaks its word, and nothing else.
    fn from(lie: Lie) -> Self {
        Self {
            lie,
            #[cfg(feature = "planted")]
            planted: Planted::default(),
        }
    }
}

impl Sabotage {
    /// What can be broken in this build, by name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let lies = Lie::ALL.iter().map(|lie| lie.name());
        #[cfg(feature = "planted")]
        let lies = lies.chain(Planted::ALL.iter().map(|bug| bug.name()));
        lies
    }

    /// The one thing of that name broken.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let lie = Lie::ALL.iter().find(|lie| lie.name() == name);
        let broken = lie.copied().map(Self::from);
        #[cfg(feature = "planted")]
        let broken = broken.or_else(|| {
            let bug = Planted::ALL.iter().find(|bug| bug.name() == name)?;
            Some(Self { planted: *bug, ..Self::default() })
        });
        broken
    }
}

#[cfg(feature = "planted")]
pub use blixard_node::planted::{Area, Planted};
#[cfg(feature = "planted")]
pub use catalogue::{Bug, catalogue};

#[cfg(feature = "planted")]
mod catalogue {
    use blixard_node::planted::{Area, Planted};

    use super::{Lie, Sabotage};

    /// An entry of the catalogue of bugs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Bug {
        /// Its stable name.
        pub name: &'static str,
        /// Where it is.
        pub area: Area,
        /// What is wrong, in a sentence.
        pub wrong: &'static str,
        /// The properties of which it breaks one.
        pub shown_by: &'static [&'static str],
        /// What to break.
        pub sabotage: Sabotage,
    }

    /// Every bug there is, by area.
    #[must_use]
    pub fn catalogue() -> Vec<Bug> {
        let planted = Planted::ALL.iter().filter_map(|planted| {
            let sabotage = Sabotage { planted: *planted, ..Sabotage::default() };
            let (name, wrong, shown_by) = (planted.name(), planted.wrong(), planted.shown_by());
            Some(Bug { name, area: planted.area()?, wrong, shown_by, sabotage })
        });
        let lies = Lie::ALL.iter().map(|lie| {
            let sabotage = Sabotage { lie: *lie, ..Sabotage::default() };
            let (name, wrong, shown_by) = (lie.name(), lie.wrong(), lie.shown_by());
            Bug { name, area: Area::Environment, wrong, shown_by, sabotage }
        });
        planted.chain(lies).collect()
    }
}
