//! Keeps what a VM prints: the newest [`FILE_LEN_MAX`] bytes at least, twice that at most.

use std::fs::{self, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The largest file, in bytes. A full one becomes `output.1` in place of the last such.
const FILE_LEN_MAX: u64 = 1 << 20;

/// The keeper's thread. On its own, so that a slow disk does not hold up the deadline.
#[derive(Debug)]
pub(super) struct Output {
    done: Receiver<()>,
}

impl Output {
    /// Begins to copy `from` to the file at `to`. A file that cannot be written loses the output; the VM goes on.
    pub(super) fn keep(from: PipeReader, to: PathBuf) -> io::Result<Self> {
        let (sender, done) = channel();
        thread::Builder::new().name("output".into()).stack_size(64 << 10).spawn(move || {
            copy(from, &to);
            drop(sender);
        })?;
        Ok(Self { done })
    }

    /// Waits until all is written, for `patience` at most. To be called when nobody can print any more.
    pub(super) fn finish(self, patience: Duration) {
        let _ = self.done.recv_timeout(patience);
    }
}

fn copy(mut from: PipeReader, to: &Path) {
    let mut buffer = vec![0_u8; 4 << 10];
    let mut file = None;
    let mut len = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if len + count as u64 > FILE_LEN_MAX {
            file = None;
            len = 0;
            let _ = fs::rename(to, to.with_extension("1"));
        }
        if file.is_none() {
            file = OpenOptions::new().append(true).create(true).mode(0o600).open(to).ok();
        }
        // On a full disk this chunk is lost, and what was kept stays; the next one is tried anew.
        if file.as_mut().is_some_and(|file| file.write_all(&buffer[..count]).is_err()) {
            file = None;
        }
        len += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_output_is_kept_and_no_more_than_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let (from, mut to) = io::pipe().unwrap();
        let output = Output::keep(from, path.clone()).unwrap();
        for line in 0..400_000 {
            writeln!(to, "line {line}").unwrap();
        }
        drop(to);
        output.finish(Duration::from_secs(20));
        let newest = fs::read_to_string(&path).unwrap();
        assert!(newest.ends_with("line 399999\n"));
        let older = fs::read_to_string(path.with_extension("1")).unwrap();
        assert!(older.len() as u64 <= FILE_LEN_MAX && newest.len() as u64 <= FILE_LEN_MAX);
        assert!((older + &newest).lines().count() > 80_000);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
