//! Identities. All are plain numbers that are never reused within a cluster.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A member of the cluster; also its Raft id, so never 0. A removed id never returns.
    NodeId, "n"
);
id!(
    /// The cluster, drawn at random when its first node bootstraps. 0 means "not known yet".
    ClusterId, "c"
);
id!(
    /// One life of a node's disk, drawn at random when the disk is first used. A node that lost its disk shows
    /// another incarnation and is refused under the old [`NodeId`].
    Incarnation, "i"
);
id!(
    /// A VM object: the revision that created it. A VM deleted and created again under its name has another id.
    VmId, "vm"
);
id!(
    /// Rises by one with each assignment of a VM to a host.
    Epoch, "e"
);
id!(
    /// The Raft log index of a committed command; orders everything that happened to the cluster state.
    Revision, "r"
);
id!(
    /// Rises by one with each change of a VM's spec or of its wanted state.
    Generation, "g"
);
id!(
    /// A hypervisor operation of one agent process.
    OpId, "op"
);
id!(
    /// A client's session, drawn at random by the client.
    ClientId, "client"
);

/// A client's request: its retries carry the same id and get the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The client's session.
    pub client: ClientId,
    /// Rises with each new request of the client, from 1.
    pub sequence: u64,
    /// A revision the client knew of before it sent its session's first request. Lets the cluster tell a session it
    /// has expired from one it has never seen (see `state/sessions.rs`).
    pub born: Revision,
}

/// Where a request came in: local to one node process, names the reply channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);
