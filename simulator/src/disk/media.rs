//! A folder on a simulated medium: what programs see, what a power loss leaves, and the operations between the two.

use std::collections::BTreeMap;
use std::io;

use blixard_node::rng::Rng;

use super::image::{Image, PageWrite};
use super::{Cost, FaultKind, LIE_BATCHES_MAX};

#[derive(Clone, Debug)]
enum Op {
    /// All pages of one call of write. A crash may cut between pages and sectors.
    Write {
        file: usize,
        pages: Vec<PageWrite>,
    },
    SetLen {
        file: usize,
        len: u64,
    },
    Sync {
        file: usize,
    },
    /// An empty file appears under the temporary name.
    Create {
        file: usize,
    },
    /// The temporary file gets the store's name.
    Rename,
    SyncFolder,
}

/// Files and their names.
#[derive(Clone, Debug, Default)]
struct Folder {
    /// By number; numbers are never reused, so that a handle stays with its file.
    files: Vec<Image>,
    store: Option<usize>,
    temporary: Option<usize>,
}

/// The medium under one disk.
#[derive(Debug, Default)]
pub(super) struct Media {
    /// What programs see.
    seen: Folder,
    /// What a power loss leaves for sure.
    durable: Folder,
    /// What was done since `durable`, in order.
    ops: Vec<Op>,
    /// How many of `ops` came before the batch under way.
    settled: usize,
    /// Fails once the count has run down.
    fault: Option<(u32, FaultKind)>,
    /// Dies once the count has run down.
    death: Option<u32>,
    /// The process that uses it is dead: nothing it does reaches the medium.
    dead: bool,
    pub(super) lying: bool,
    /// Bits have flipped: the newest mark then outlives a loss of power. Without it, damage to the newest batch looks like a batch that
    /// was never finished, the one case that nobody can notice (`docs/storage.md`).
    rotten: bool,
    /// The next loss of power keeps the last of what was not synced, and loses the first.
    backwards: bool,
}

impl Media {
    /// How many operations are not settled.
    fn ops_under_way(&self) -> usize {
        self.ops.len() - self.settled
    }

    /// What the operations since the last [`Media::settle`] cost.
    pub(super) fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        for op in &self.ops[self.settled..] {
            match op {
                Op::Write { pages, .. } => {
                    cost.writes += 1;
                    cost.bytes +=
                        pages.iter().map(|page| u64::from(page.sectors.count_ones()) * 512).sum::<u64>();
                }
                Op::Sync { .. } | Op::SyncFolder => cost.syncs += 1,
                Op::SetLen { .. } | Op::Create { .. } | Op::Rename => cost.writes += 1,
            }
        }
        cost
    }

    pub(super) fn arm(&mut self, after_ops: u32, kind: FaultKind) {
        self.fault = Some((after_ops, kind));
    }

    /// After `ops` more operations nothing reaches the medium any more.
    pub(super) fn die_after(&mut self, ops: u32) {
        self.death = Some(ops);
    }

    pub(super) fn die(&mut self) {
        self.dead = true;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// The operations so far have all happened: those that were synced can be lost no more.
    pub(super) fn settle(&mut self) {
        if self.lying {
            self.settle_behind_lies();
        } else {
            let ops = std::mem::take(&mut self.ops);
            self.ops = self.durable.promote(ops);
        }
        self.settled = self.ops.len();
    }

    /// A medium whose sync lies keeps what many later syncs have pushed out of its cache.
    fn settle_behind_lies(&mut self) {
        let is_sync = |op: &Op| matches!(op, Op::Sync { .. } | Op::SyncFolder);
        let syncs = self.ops.iter().filter(|op| is_sync(op)).count();
        let Some(mut surplus) = syncs.checked_sub(LIE_BATCHES_MAX) else { return };
        let kept = self.ops.iter().position(|op| {
            let done = surplus == 0;
            surplus -= usize::from(is_sync(op) && !done);
            done
        });
        let newer = self.ops.split_off(kept.unwrap_or(0));
        let older = std::mem::replace(&mut self.ops, newer);
        for op in &older {
            self.durable.apply(op);
        }
    }

    fn check(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the simulated process is dead"));
        }
        if let Some((0, kind)) = self.fault {
            // A medium that failed does not come back before the process has died.
            self.dead = true;
            return Err(match kind {
                FaultKind::Io => io::Error::other("injected I/O error"),
                FaultKind::Full => io::Error::new(io::ErrorKind::StorageFull, "injected: no space left"),
            });
        }
        if self.death == Some(0) {
            self.dead = true;
            return Err(io::Error::other("the simulated process is dead"));
        }
        Ok(())
    }

    /// Lets one more operation happen, or not.
    fn count(&mut self) -> io::Result<()> {
        self.check()?;
        if let Some((left, _)) = &mut self.fault {
            *left -= 1;
        }
        if let Some(left) = &mut self.death {
            *left -= 1;
        }
        Ok(())
    }

    /// The file that has the store's name.
    pub(super) fn store(&self) -> Option<usize> {
        self.seen.store
    }

    pub(super) fn create_temporary(&mut self) -> io::Result<usize> {
        self.count()?;
        let file = self.seen.files.len();
        self.record(Op::Create { file });
        Ok(file)
    }

    pub(super) fn publish(&mut self) -> io::Result<()> {
        self.count()?;
        self.record(Op::Rename);
        self.count()?;
        self.record(Op::SyncFolder);
        Ok(())
    }

    pub(super) fn len(&mut self, file: usize) -> io::Result<u64> {
        self.check()?;
        Ok(self.seen.files[file].len())
    }

    pub(super) fn read(&mut self, file: usize, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check()?;
        if self.seen.files[file].read(offset, out) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a read past the end"))
    }

    pub(super) fn write(&mut self, file: usize, offset: u64, data: &[u8]) -> io::Result<()> {
        self.count()?;
        let mut pages = Vec::with_capacity(data.len() / 4096 + 1);
        if !self.seen.files[file].write(offset, data, |page| pages.push(page)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a write past the end"));
        }
        self.ops.push(Op::Write { file, pages });
        Ok(())
    }

    pub(super) fn set_len(&mut self, file: usize, len: u64) -> io::Result<()> {
        self.count()?;
        self.record(Op::SetLen { file, len });
        Ok(())
    }

    pub(super) fn sync(&mut self, file: usize) -> io::Result<()> {
        self.count()?;
        self.record(Op::Sync { file });
        Ok(())
    }

    fn record(&mut self, op: Op) {
        self.seen.apply(&op);
        self.ops.push(op);
    }

    /// How many operations have happened when the process dies now: any number of the batch under way, or up to the one
    /// at which it has died already.
    fn happened(&self, rng: &mut Rng) -> usize {
        if self.dead {
            return self.ops.len();
        }
        self.settled + rng.below(self.ops_under_way() as u64 + 1) as usize
    }

    /// What the next process finds when this one dies now.
    pub(super) fn after_process_death(&self, rng: &mut Rng) -> Self {
        let happened = self.happened(rng);
        let mut seen = self.durable.clone();
        for op in &self.ops[..happened] {
            seen.apply(op);
        }
        // What was not synced is still not, and a power loss can take it later.
        let mut durable = self.durable.clone();
        let ops = durable.promote(self.ops[..happened].to_vec());
        let (lying, rotten) = (self.lying, self.rotten);
        Self { seen, durable, settled: ops.len(), ops, lying, rotten, ..Self::default() }
    }

    /// What a power loss leaves now: what was synced, and any of the sectors that were written and not synced.
    pub(super) fn after_power_loss(&self, rng: &mut Rng) -> Self {
        let happened = self.happened(rng);
        let mut left = self.durable.clone();
        if self.lying {
            let kept = rng.below(happened as u64 + 1) as usize;
            for op in &self.ops[..kept] {
                left.apply(op);
            }
        } else {
            let unsynced = left.promote(self.ops[..happened].to_vec());
            match self.backwards {
                true => left.tear_backwards(&unsynced, self.rotten, rng),
                false => left.tear(unsynced, self.rotten, rng),
            }
        }
        left.forget_nameless();
        let (lying, rotten) = (self.lying, self.rotten);
        Self { seen: left.clone(), durable: left, lying, rotten, ..Self::default() }
    }

    /// Flips `bits` bits of the store's file, in pages that hold something.
    pub(super) fn rot(&mut self, bits: u32, rng: &mut Rng) {
        let Some(file) = self.seen.store else { return };
        self.rotten = true;
        let pages: Vec<usize> = self.seen.files[file].written_pages().collect();
        let Some(durable) = self.durable.files.get_mut(file) else { return };
        for _ in 0..bits {
            let Some(page) = rng.pick(&pages) else { return };
            let (byte, bit) = (*page as u64 * 4096 + rng.below(4096), rng.below(8) as u8);
            self.seen.files[file].flip(byte, bit);
            durable.flip(byte, bit);
        }
    }

    pub(super) fn tear_backwards(&mut self) {
        self.backwards = true;
    }

    /// The same medium for another process.
    pub(super) fn copy(&self) -> Self {
        Self {
            seen: self.seen.clone(),
            durable: self.durable.clone(),
            ops: self.ops.clone(),
            settled: self.settled,
            lying: self.lying,
            rotten: self.rotten,
            ..Self::default()
        }
    }

    /// The length of the store's file, and the flipping of one bit of it.
    pub(super) fn store_len(&self) -> u64 {
        self.seen.store.map_or(0, |file| self.seen.files[file].len())
    }

    pub(super) fn flip(&mut self, byte: u64, bit: u8) {
        for folder in [&mut self.seen, &mut self.durable] {
            if let Some(file) = folder.store {
                folder.files[file].flip(byte, bit);
            }
        }
    }
}

impl Folder {
    /// Does what `op` does, whole.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { file, pages } => {
                for write in pages {
                    self.files[*file].put(write.number, &write.page);
                }
            }
            Op::SetLen { file, len } => self.files[*file].set_len(*len),
            Op::Create { file } => {
                self.files.resize_with(self.files.len().max(file + 1), Image::default);
                self.temporary = Some(*file);
            }
            Op::Rename => self.store = self.temporary.take(),
            Op::Sync { .. } | Op::SyncFolder => {}
        }
    }

    /// Does those of `ops` that a later sync covers, and gives the others back.
    fn promote(&mut self, ops: Vec<Op>) -> Vec<Op> {
        let last_sync = |ops: &[Op], file| {
            ops.iter().rposition(|op| matches!(op, Op::Sync { file: synced } if *synced == file))
        };
        let last_folder_sync = ops.iter().rposition(|op| matches!(op, Op::SyncFolder));
        let mut synced: BTreeMap<usize, Option<usize>> = BTreeMap::new();
        let covered: Vec<bool> = ops
            .iter()
            .enumerate()
            .map(|(at, op)| match op {
                Op::Write { file, .. } | Op::SetLen { file, .. } => {
                    let last = synced.entry(*file).or_insert_with(|| last_sync(&ops, *file));
                    last.is_some_and(|last| at < last)
                }
                Op::Create { .. } | Op::Rename => last_folder_sync.is_some_and(|last| at < last),
                Op::Sync { .. } | Op::SyncFolder => true,
            })
            .collect();
        let mut rest = Vec::new();
        for (op, covered) in ops.into_iter().zip(covered) {
            // A file's content can be durable before its name is.
            if let Op::Create { file } = op {
                self.files.resize_with(self.files.len().max(file + 1), Image::default);
            }
            match covered {
                true => self.apply(&op),
                false => rest.push(op),
            }
        }
        rest
    }

    /// Does any part of `ops`: names up to any point, lengths up to any point, and sectors each up to any of its versions.
    fn tear(&mut self, ops: Vec<Op>, keep_marks: bool, rng: &mut Rng) {
        let mut sectors: BTreeMap<(usize, usize, usize), Vec<super::image::Page>> = BTreeMap::new();
        let mut lens: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let mut names = Vec::new();
        for op in ops {
            match op {
                Op::Write { file, pages } => {
                    for write in pages {
                        for sector in (0..8).filter(|sector| write.sectors & 1 << sector != 0) {
                            let versions = sectors.entry((file, write.number, sector)).or_default();
                            versions.push(write.page.clone());
                        }
                    }
                }
                Op::SetLen { file, len } => lens.entry(file).or_default().push(len),
                Op::Create { .. } | Op::Rename => names.push(op),
                Op::Sync { .. } | Op::SyncFolder => {}
            }
        }
        let kept = rng.below(names.len() as u64 + 1) as usize;
        for op in &names[..kept] {
            self.apply(op);
        }
        for (file, lens) in lens {
            if let Some(len) = rng.below(lens.len() as u64 + 1).checked_sub(1) {
                self.files[file].set_len(lens[len as usize]);
            }
        }
        // Some crashes take nearly all, some nearly nothing, most a share.
        let share = rng.below(5);
        for ((file, page, sector), versions) in sectors {
            let kept = rng.below(4) < share;
            if kept || (keep_marks && page == 0) {
                let drawn = rng.below(versions.len() as u64) as usize;
                let version = if keep_marks && page == 0 { versions.len() - 1 } else { drawn };
                self.files[file].put_sector(page, sector, &versions[version]);
            }
        }
    }

    /// Does the last of `ops` and none before: a disk may write in any order what is not synced.
    fn tear_backwards(&mut self, ops: &[Op], keep_marks: bool, rng: &mut Rng) {
        let first_kept = rng.below(ops.len() as u64 + 1) as usize;
        for (number, op) in ops.iter().enumerate() {
            match op {
                Op::Write { file, pages } => {
                    for write in
                        pages.iter().filter(|write| number >= first_kept || (keep_marks && write.number == 0))
                    {
                        for sector in (0..8).filter(|sector| write.sectors & 1 << sector != 0) {
                            self.files[*file].put_sector(write.number, sector, &write.page);
                        }
                    }
                }
                // Lengths and names are the file system's, which keeps their order.
                Op::SetLen { .. } | Op::Create { .. } | Op::Rename => self.apply(op),
                Op::Sync { .. } | Op::SyncFolder => {}
            }
        }
    }

    /// Drops the files that no name leads to.
    fn forget_nameless(&mut self) {
        for number in 0..self.files.len() {
            if self.store != Some(number) && self.temporary != Some(number) {
                self.files[number] = Image::default();
            }
        }
    }
}
