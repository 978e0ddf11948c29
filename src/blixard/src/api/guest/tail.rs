//! What a VM has printed on this host: `output.1` and `output` of its newest run, and what is added to them.
//!
//! The writer renames a full `output` to `output.1` and begins a new one; the next run of a VM has a folder of its own, and
//! the old one is removed. An open file shows its content whatever becomes of its name, so nothing is lost that was not
//! overtaken by two whole files.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::SystemTime;

use blixard_node::ids::{Epoch, VmId};

use crate::hypervisor::run_dir::{RunDir, StateDir};

/// The most bytes read at once.
pub(super) const PIECE_LEN_MAX: usize = 32 << 10;

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// At the oldest that is kept.
    Oldest,
    /// So many lines before the end.
    Lines(u64),
    /// After a piece's place; at the oldest when it is gone.
    Place(String),
}

/// Something that was printed, or happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes, and the place after them.
    Data(Vec<u8>, String),
    /// The VM was started anew.
    NewRun,
    /// The writer was faster: something is missing here.
    Gap,
}

/// An open file of output.
#[derive(Debug)]
struct Part {
    file: File,
    /// What tells it from every other file: inode, and when it was made, because inodes are used again.
    mark: (u64, u128),
    at: u64,
}

/// Reads a VM's output piece by piece.
#[derive(Debug)]
pub(super) struct Tail {
    state: StateDir,
    vm: VmId,
    /// Runs of earlier epochs are left out.
    since: Epoch,
    run: Option<RunDir>,
    /// The first piece is empty: it tells the place where the output begins.
    begun: bool,
    /// The files to read, the oldest first; the last one is the one that is written to.
    parts: VecDeque<Part>,
    buffer: Vec<u8>,
}

impl Tail {
    /// Opens a VM's newest run, if there is one of this epoch or a later one.
    pub(super) fn open(state: StateDir, vm: VmId, since: Epoch, from: &From) -> io::Result<Self> {
        let mut tail = Self {
            state,
            vm,
            since,
            run: None,
            begun: false,
            parts: VecDeque::new(),
            buffer: vec![0; PIECE_LEN_MAX],
        };
        let run = tail.newest()?;
        match from {
            From::Oldest => tail.begin(run)?,
            From::Lines(lines) => {
                tail.begin(run)?;
                tail.skip_to_last(*lines)?;
            }
            From::Place(place) => {
                let place = Place::parse(place);
                // An older run that is still there is read to its end first.
                let old = place.as_ref().map(|place| tail.state.run_named(&place.run));
                let old = old.filter(|old| old.run().is_some_and(|run| run.vm == vm) && old.path().exists());
                tail.begin(old.or(run))?;
                if let Some(place) = place {
                    tail.skip_to(&place);
                }
            }
        }
        Ok(tail)
    }

    /// Whether there is a run of this VM.
    pub(super) fn has_run(&self) -> bool {
        self.run.is_some()
    }

    /// The next piece; none when there is nothing more at the moment.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        if !std::mem::replace(&mut self.begun, true) && self.run.is_some() {
            return Ok(Some(Piece::Data(Vec::new(), self.place())));
        }
        loop {
            if let Some(data) = self.read()? {
                let place = self.place();
                return Ok(Some(Piece::Data(data, place)));
            }
            let Some(run) = self.run.clone() else {
                return self.next_run();
            };
            // The order matters: what was read before the writer turned to another file may not have been all.
            match self.turn_page(&run)? {
                Turned::Same => {}
                Turned::Next => continue,
                Turned::Gap => return Ok(Some(Piece::Gap)),
            }
            if !run.has_ended() && run.path().exists() {
                return Ok(None);
            }
            // Its last words may have come after the look above.
            if let Some(data) = self.read()? {
                let place = self.place();
                return Ok(Some(Piece::Data(data, place)));
            }
            return self.next_run();
        }
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(part) = self.parts.front_mut() {
            let count = read_at(&part.file, &mut self.buffer, part.at)?;
            if count > 0 {
                part.at += count as u64;
                return Ok(Some(self.buffer[..count].to_vec()));
            }
            if self.parts.len() == 1 {
                break;
            }
            self.parts.pop_front();
        }
        Ok(None)
    }

    /// Looks whether the writer has gone on to another file.
    fn turn_page(&mut self, run: &RunDir) -> io::Result<Turned> {
        let mark = self.parts.back().map(|part| part.mark);
        let there = match fs::metadata(run.output()) {
            Ok(data) => Some(mark_of(&data)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if there.is_none() || there == mark {
            return Ok(Turned::Same);
        }
        let mut parts = open_parts(run)?;
        let overtaken = mark.is_some() && !parts.iter().any(|part| Some(part.mark) == mark);
        // What follows the file that was being read, which may have grown before it was renamed.
        if let Some(at) = parts.iter().position(|part| Some(part.mark) == mark) {
            parts.drain(..=at);
        }
        self.parts.extend(parts);
        Ok(if overtaken { Turned::Gap } else { Turned::Next })
    }

    /// Goes on to a newer run than the one that was read, if there is one.
    fn next_run(&mut self) -> io::Result<Option<Piece>> {
        let newest = self.newest()?;
        if newest.is_none() || newest == self.run {
            return Ok(None);
        }
        self.parts.clear();
        // The first run that a waiting reader sees is no news.
        let is_another = self.run.is_some();
        self.begin(newest)?;
        Ok(Some(if is_another { Piece::NewRun } else { Piece::Data(Vec::new(), self.place()) }))
    }

    fn newest(&self) -> io::Result<Option<RunDir>> {
        let runs = self.state.attempts()?.into_iter().filter_map(|dir| Some((dir.run()?, dir)));
        let ours = runs.filter(|(run, _)| run.vm == self.vm && run.epoch >= self.since);
        Ok(ours.max_by_key(|(run, dir)| (run.epoch, dir.began_at())).map(|(_, dir)| dir))
    }

    fn begin(&mut self, run: Option<RunDir>) -> io::Result<()> {
        if let Some(run) = &run {
            self.parts = open_parts(run)?;
        }
        self.run = run;
        Ok(())
    }

    fn place(&self) -> String {
        let part = self.parts.front().map_or((0, 0, 0), |part| (part.mark.0, part.mark.1, part.at));
        let run = self.run.as_ref().map_or("", |run| run.name());
        format!("{run}/{}/{}/{}", part.0, part.1, part.2)
    }

    fn skip_to(&mut self, place: &Place) {
        if self.run.as_ref().is_none_or(|run| run.name() != place.run) {
            return;
        }
        if let Some(at) = self.parts.iter().position(|part| part.mark == place.mark) {
            self.parts.drain(..at);
            if let Some(part) = self.parts.front_mut() {
                part.at = place.at;
            }
        }
    }

    /// Skips all but the last lines. What follows the last line break counts as a line.
    fn skip_to_last(&mut self, lines: u64) -> io::Result<()> {
        let mut left = lines;
        let mut is_end = true;
        for index in (0..self.parts.len()).rev() {
            let part = &mut self.parts[index];
            let mut end = part.file.metadata()?.len();
            if lines == 0 {
                part.at = end;
                self.parts.drain(..index);
                return Ok(());
            }
            while end > 0 {
                let begin = end.saturating_sub(PIECE_LEN_MAX as u64);
                // The rest of the block, in case that the file is shorter by now, counts as no line break.
                let block = &mut self.buffer[..usize::try_from(end - begin).unwrap_or(PIECE_LEN_MAX)];
                block.fill(0);
                read_at(&part.file, block, begin)?;
                for (offset, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                    let after = begin + offset as u64 + 1;
                    // The break at the very end ends the last line, it begins none.
                    if is_end && after == end {
                        is_end = false;
                        continue;
                    }
                    is_end = false;
                    left -= 1;
                    if left == 0 {
                        part.at = after;
                        self.parts.drain(..index);
                        return Ok(());
                    }
                }
                is_end = false;
                end = begin;
            }
        }
        Ok(())
    }
}

enum Turned {
    Same,
    Next,
    Gap,
}

/// A place within a run's output.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    run: String,
    mark: (u64, u128),
    at: u64,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [run, inode, made, at] = parts[..] else { return None };
        let mark = (inode.parse().ok()?, made.parse().ok()?);
        Some(Self { run: run.to_owned(), mark, at: at.parse().ok()? })
    }
}

/// Opens `output.1` and `output`, those that are there.
fn open_parts(run: &RunDir) -> io::Result<VecDeque<Part>> {
    loop {
        let (newest, older) = (open(run.output())?, open(run.older_output())?);
        match (newest, older) {
            // Renamed between the two looks.
            (Some(newest), Some(older)) if newest.mark == older.mark => {}
            (newest, older) => return Ok(older.into_iter().chain(newest).collect()),
        }
    }
}

fn open(path: std::path::PathBuf) -> io::Result<Option<Part>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mark = mark_of(&file.metadata()?);
    Ok(Some(Part { file, mark, at: 0 }))
}

fn mark_of(data: &fs::Metadata) -> (u64, u128) {
    let made = data.created().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    (data.ino(), made.unwrap_or_default().as_nanos())
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests;
