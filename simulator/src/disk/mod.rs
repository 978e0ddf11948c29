//! The disks of the simulated hosts: redb over simulated media, or a model, behind one handle.
//!
//! A batch that a node begins stays under way until the world calls [`SimDisk::complete`], so that the world decides how
//! long a write takes and what may happen meanwhile. All chance comes from the stream that the caller hands in.

mod backend;
mod image;
mod media;
mod modelled;
mod noted;
mod stored_in_redb;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

use blixard_node::rng::Rng;
use blixard_node::stored::{Stored, WriteBatch};
use blixard_runtime::{Disk, DiskError};

use modelled::Modelled;
pub use noted::Held;
use stored_in_redb::StoredInRedb;

/// How many acknowledged batches a disk whose sync lies holds back at most.
pub const LIE_BATCHES_MAX: usize = 64;

/// What stands behind a [`SimDisk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A value in memory: fast.
    Modelled,
    /// The production store over a simulated medium.
    Redb,
}

/// What a crash takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process dies; what it has written stays with the operating system.
    Process,
    /// The host loses power: any part of what was written and not synced is gone, by 512-byte sectors.
    Power,
}

/// What an armed fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Reading, writing or syncing fails.
    Io,
    /// No space is left.
    Full,
}

/// A fault of one operation, out of those that follow the call of [`SimDisk::arm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// How many operations succeed before. The modelled disk has one operation a batch, so it fails the next one.
    pub after_ops: u32,
}

impl Fault {
    fn error(self, path: &str) -> DiskError {
        match self.kind {
            FaultKind::Io => DiskError::Io { path: path.into(), reason: "injected I/O error".into() },
            FaultKind::Full => DiskError::Full { path: path.into() },
        }
    }
}

/// What the batch under way asks of the medium, for drawing how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cost {
    /// Writes and changes of length.
    pub writes: u32,
    /// Syncs. 0 for a batch that needs not be durable.
    pub syncs: u32,
    /// Bytes written.
    pub bytes: u64,
}

impl Cost {
    /// All operations.
    #[must_use]
    pub fn ops(&self) -> u32 {
        self.writes + self.syncs
    }
}

/// A handle of one host's disk. Clones share the disk: the world keeps one and the node's runtime another.
#[derive(Clone, Debug)]
pub struct SimDisk(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    path: String,
    engine: Engine,
    medium: Medium,
    under_way: bool,
    /// The outcome of the last batch that was completed, until the next one begins.
    outcome: Result<(), DiskError>,
    /// What the last batch that was begun holds, or what the last opening found.
    held: Held,
}

#[derive(Debug)]
enum Medium {
    Modelled(Box<Modelled>),
    Redb(Box<StoredInRedb>),
}

impl Medium {
    fn new(engine: Engine) -> Self {
        match engine {
            Engine::Modelled => Self::Modelled(Box::default()),
            Engine::Redb => Self::Redb(Box::default()),
        }
    }
}

impl SimDisk {
    /// An empty disk. `path` names it in errors.
    #[must_use]
    pub fn new(engine: Engine, path: impl Into<String>) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            path: path.into(),
            engine,
            medium: Medium::new(engine),
            under_way: false,
            outcome: Ok(()),
            held: Held::default(),
        })))
    }

    /// A disk that holds `stored`, as [`blixard_node::bootstrap`] gives it.
    ///
    /// # Errors
    /// None that an undisturbed disk has.
    pub fn holding(engine: Engine, path: impl Into<String>, stored: Stored) -> Result<Self, DiskError> {
        let mut disk = Self::new(engine, path);
        disk.load()?;
        disk.begin(WriteBatch {
            identity: stored.identity,
            snapshot: stored.snapshot,
            snapshot_resets_log: false,
            append: stored.entries,
            hard_state: Some(stored.hard_state),
            agent: Some(stored.agent),
        });
        disk.complete();
        disk.close();
        disk.0.borrow().outcome.clone()?;
        Ok(disk)
    }

    /// Another disk with the content that a process which opened this one now would find. No batch may be under way.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.0.borrow();
        assert!(!inner.under_way, "what a batch under way comes to is not settled");
        let medium = match &inner.medium {
            Medium::Modelled(modelled) => Medium::Modelled(modelled.clone()),
            Medium::Redb(redb) => Medium::Redb(Box::new(redb.copy())),
        };
        Self(Rc::new(RefCell::new(Inner {
            path: inner.path.clone(),
            engine: inner.engine,
            medium,
            under_way: false,
            outcome: Ok(()),
            held: inner.held,
        })))
    }

    /// What the last batch that was begun holds; before the first one, what was found when the disk was opened.
    #[must_use]
    pub fn held(&self) -> Held {
        self.0.borrow().held
    }

    /// Whether the last batch that was completed failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.borrow().outcome.is_err()
    }

    /// What stands behind it.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.0.borrow().engine
    }

    /// Whether a batch was begun and not completed.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.0.borrow().under_way
    }

    /// What the batch under way costs; nothing if there is none.
    #[must_use]
    pub fn cost(&self) -> Cost {
        match &self.0.borrow().medium {
            Medium::Modelled(modelled) => modelled.cost(),
            Medium::Redb(redb) => redb.cost(),
        }
    }

    /// Lets the batch under way come to its end: the node's next poll is ready. Does nothing if there is none.
    pub fn complete(&self) {
        let inner = &mut *self.0.borrow_mut();
        if !inner.under_way {
            return;
        }
        inner.under_way = false;
        inner.outcome = match &mut inner.medium {
            Medium::Modelled(modelled) => modelled.complete(&inner.path),
            Medium::Redb(redb) => redb.complete(),
        };
    }

    /// The process that uses the disk dies, at whatever point a batch under way has reached, and what survives is there
    /// for the next one to open. Drop the runtime that holds the other handle, before or after.
    pub fn crash(&self, loss: Loss, rng: &mut Rng) {
        let inner = &mut *self.0.borrow_mut();
        inner.under_way = false;
        inner.outcome = Ok(());
        match &mut inner.medium {
            Medium::Modelled(modelled) => modelled.crash(rng, loss == Loss::Power),
            Medium::Redb(redb) => redb.crash(rng, loss),
        }
    }

    /// The process that uses the disk ends in good order, with no batch under way.
    pub fn close(&self) {
        let inner = &mut *self.0.borrow_mut();
        assert!(!inner.under_way, "a process that ends in good order waits for its write");
        match &mut inner.medium {
            Medium::Modelled(_) => {}
            Medium::Redb(redb) => redb.close(),
        }
    }

    /// The disk is replaced by an empty one.
    pub fn lose(&self) {
        let inner = &mut *self.0.borrow_mut();
        inner.under_way = false;
        inner.outcome = Ok(());
        match &mut inner.medium {
            Medium::Modelled(modelled) => modelled.lose(),
            Medium::Redb(redb) => redb.lose(),
        }
    }

    /// Flips bits of what is stored, also of what is not synced yet. The modelled disk shows it as a checksum that fails until the
    /// record is written anew; either engine may have kept nothing there. A process that has the disk open notices at the earliest
    /// when it reads.
    pub fn rot(&self, bits: u32, rng: &mut Rng) {
        match &mut self.0.borrow_mut().medium {
            Medium::Modelled(modelled) => modelled.rot(bits, rng),
            Medium::Redb(redb) => redb.rot(bits, rng),
        }
    }

    /// The next loss of power keeps what was written last and not synced, and loses what was written before it. The modelled disk has
    /// no order within a batch, it ignores this.
    pub fn tear_backwards(&self) {
        if let Medium::Redb(redb) = &mut self.0.borrow_mut().medium {
            redb.tear_backwards();
        }
    }

    /// Arms a fault.
    pub fn arm(&self, fault: Fault) {
        match &mut self.0.borrow_mut().medium {
            Medium::Modelled(modelled) => modelled.arm(fault),
            Medium::Redb(redb) => redb.arm(fault),
        }
    }

    /// After `ops` more operations nothing that the process does reaches the medium: for crashes at a chosen operation, also
    /// while the disk is opened. Follow it with [`SimDisk::crash`]. The modelled disk has no operations, it ignores this.
    pub fn die_after(&self, ops: u32) {
        match &mut self.0.borrow_mut().medium {
            Medium::Modelled(_) => {}
            Medium::Redb(redb) => redb.die_after(ops),
        }
    }

    /// Whether the operation of [`SimDisk::die_after`], or an armed fault, has been reached.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        match &self.0.borrow().medium {
            Medium::Modelled(modelled) => modelled.is_dead(),
            Medium::Redb(redb) => redb.is_dead(),
        }
    }

    /// The length of the store's file, in bytes; 0 for the modelled disk.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        match &self.0.borrow().medium {
            Medium::Modelled(_) => 0,
            Medium::Redb(redb) => redb.len(),
        }
    }

    /// Flips one bit of the store's file. As [`SimDisk::rot`], with the place chosen. The modelled disk has no places, it ignores this.
    pub fn flip(&self, byte: u64, bit: u8) {
        if let Medium::Redb(redb) = &mut self.0.borrow_mut().medium {
            redb.flip(byte, bit);
        }
    }

    /// From now on what has rotted is handed out as it is. A control, of the modelled disk alone: redb's checksums cannot be ignored.
    pub fn ignore_checksums(&self) {
        if let Medium::Modelled(modelled) = &mut self.0.borrow_mut().medium {
            modelled.ignore_checksums();
        }
    }

    /// From now on syncs say that they succeeded and keep nothing, until [`LIE_BATCHES_MAX`] later ones have come in. A control:
    /// no node can stand this.
    pub fn lie(&self, lying: bool) {
        match &mut self.0.borrow_mut().medium {
            Medium::Modelled(modelled) => modelled.lie(lying),
            Medium::Redb(redb) => redb.lie(lying),
        }
    }
}

impl Disk for SimDisk {
    fn load(&mut self) -> Result<Stored, DiskError> {
        let inner = &mut *self.0.borrow_mut();
        let stored = match &mut inner.medium {
            Medium::Modelled(modelled) => modelled.load(&inner.path),
            Medium::Redb(redb) => redb.load(&inner.path),
        }?;
        inner.held = Held::on_disk(&stored);
        Ok(stored)
    }

    fn begin(&mut self, batch: WriteBatch) {
        let inner = &mut *self.0.borrow_mut();
        assert!(!inner.under_way, "one batch at a time");
        inner.under_way = true;
        inner.held = Held::in_batch(&batch);
        match &mut inner.medium {
            Medium::Modelled(modelled) => modelled.begin(batch),
            Medium::Redb(redb) => redb.begin(&inner.path, batch),
        }
    }

    fn poll(&mut self) -> Poll<Result<(), DiskError>> {
        let inner = self.0.borrow();
        if inner.under_way { Poll::Pending } else { Poll::Ready(inner.outcome.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use blixard_node::stored::HardState;

    use super::*;

    fn vote(term: u64) -> WriteBatch {
        WriteBatch { hard_state: Some(HardState { term, vote: 1, commit: 0 }), ..WriteBatch::default() }
    }

    const ENGINES: [Engine; 2] = [Engine::Modelled, Engine::Redb];

    fn opened(engine: Engine) -> (SimDisk, SimDisk) {
        let disk = SimDisk::new(engine, "n1");
        let mut node = disk.clone();
        assert_eq!(node.load(), Ok(Stored::default()));
        (disk, node)
    }

    #[test]
    fn a_batch_is_under_way_until_the_world_completes_it() {
        for engine in ENGINES {
            let (disk, mut node) = opened(engine);
            node.begin(vote(1));
            assert_eq!(node.poll(), Poll::Pending);
            assert!(disk.cost().syncs > 0);
            disk.complete();
            assert_eq!(node.poll(), Poll::Ready(Ok(())));
            assert_eq!(disk.cost(), Cost::default());
        }
    }

    #[test]
    fn a_commit_index_that_is_written_is_kept() {
        for engine in ENGINES {
            let (disk, mut node) = opened(engine);
            node.begin(vote(1));
            disk.complete();
            let moved = HardState { term: 1, vote: 1, commit: 5 };
            node.begin(WriteBatch { hard_state: Some(moved), ..WriteBatch::default() });
            assert!(disk.cost().syncs > 0, "{engine:?}");
            disk.complete();
            disk.crash(Loss::Power, &mut Rng::new(1, 0));
            assert_eq!(node.load().unwrap().hard_state, moved, "{engine:?}");
        }
    }

    #[test]
    fn a_lie_loses_what_was_acknowledged() {
        for engine in ENGINES {
            let mut lost = 0;
            for seed in 0..20 {
                let (disk, mut node) = opened(engine);
                disk.lie(true);
                node.begin(vote(1));
                disk.complete();
                assert_eq!(node.poll(), Poll::Ready(Ok(())));
                disk.crash(Loss::Power, &mut Rng::new(seed, 0));
                lost += u32::from(node.load().is_ok_and(|stored| stored.hard_state.term == 0));
            }
            assert!(lost > 0, "{engine:?}: the control lost nothing in 20 crashes");
        }
    }

    #[test]
    fn a_fault_reaches_the_node_and_ends_with_its_process() {
        for engine in ENGINES {
            let (disk, mut node) = opened(engine);
            disk.arm(Fault { kind: FaultKind::Full, after_ops: 0 });
            node.begin(vote(1));
            disk.complete();
            let full = DiskError::Full { path: "n1".into() };
            assert_eq!(node.poll(), Poll::Ready(Err(full)), "{engine:?}");
            disk.crash(Loss::Process, &mut Rng::new(1, 0));
            assert!(node.load().is_ok());
            node.begin(vote(2));
            disk.complete();
            assert_eq!(node.poll(), Poll::Ready(Ok(())));
        }
    }

    #[test]
    fn a_lost_disk_comes_back_empty() {
        for engine in ENGINES {
            let mut stored = Stored::default();
            stored.hard_state.term = 3;
            let disk = SimDisk::holding(engine, "n1", stored.clone()).unwrap();
            assert_eq!(disk.clone().load(), Ok(stored));
            disk.lose();
            assert_eq!(disk.clone().load(), Ok(Stored::default()));
        }
    }
}
