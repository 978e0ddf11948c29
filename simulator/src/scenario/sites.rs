//! The `[buggify]` table: rare and legal behaviour of what stands below the node, by the site in the simulator where it happens.

use super::reader::section;
use super::value::Chance;

/// Defines the sites, each with the key of its chance.
macro_rules! sites {
    ($($(#[doc = $line:literal])+ $site:ident = $key:ident),* $(,)?) => {
        /// A place in the simulator's backends where something rare happens.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Site { $($(#[doc = $line])+ $site),* }

        impl Site {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$site),*];

            /// Its name: the key of its chance.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$site => stringify!($key)),* }
            }
        }

        section! {
            /// How often each site does what is legal and rare. Zero is off.
            pub struct Buggify in "buggify" { $($(#[doc = $line])+ $key: Chance = Chance::NEVER),* }
        }

        impl Buggify {
            /// How often a site fires when it is passed.
            #[must_use]
            pub fn chance(&self, site: Site) -> Chance {
                match site { $(Site::$site => self.$key),* }
            }

            /// The same, to be set.
            pub fn chance_mut(&mut self, site: Site) -> &mut Chance {
                match site { $(Site::$site => &mut self.$key),* }
            }
        }
    };
}

sites! {
    /// A write takes a hundred times as long.
    DiskSyncSlow = disk_sync_slow,
    /// A loss of power keeps what was written last and not synced, and loses what was written before it.
    DiskLastWriteFirst = disk_last_write_first,
    /// A message is held for up to two minutes, over restarts and elections, and then delivered.
    NetKeptLong = net_kept_long,
    /// A message arrives up to six times within a second.
    NetRepeated = net_repeated,
    /// A piece of a snapshot, or its acknowledgement, is lost.
    NetPieceLost = net_piece_lost,
    /// A vote, or the request for one, is lost.
    NetVoteLost = net_vote_lost,
    /// The grant of a lease is lost.
    NetLeaseLost = net_lease_lost,
    /// A turn takes a hundred times as long.
    ProcessTurnSlow = process_turn_slow,
    /// A timer fires up to a second late.
    ProcessWakeLate = process_wake_late,
    /// A process takes up to a minute longer to start.
    ProcessStartSlow = process_start_slow,
    /// A host's wall clock shows a time decades off, for one reading.
    ClockWallWild = clock_wall_wild,
    /// A hypervisor lists its VMs in another order.
    HypervisorListShuffled = hypervisor_list_shuffled,
    /// A VM past its deadline dies at the last instant that is allowed.
    HypervisorKillLast = hypervisor_kill_last,
    /// The exit of a VM is told twice.
    HypervisorExitTwice = hypervisor_exit_twice,
    /// A client asks a node that is not there any more.
    ClientAsksTheGone = client_asks_the_gone,
    /// An answer reaches its client twice, the second time up to ten seconds later.
    ClientAnsweredTwice = client_answered_twice,
    /// The connection breaks when the answer is on its way.
    ClientCutOff = client_cut_off,
}
