//! Bits that flip while nobody looks: the store says so, or what it reads is right all the same.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::task::Poll;

use blixard_node::rng::Rng;
use blixard_node::stored::Stored;
use blixard_runtime::conformance::random_batch;
use blixard_runtime::{Disk, DiskError};
use blixard_sim::disk::{Engine, Loss, SimDisk};

/// A disk with some history, and what it holds.
fn with_history(seed: u64) -> (SimDisk, Stored) {
    let disk = SimDisk::new(Engine::Redb, "n1");
    let mut node = disk.clone();
    let mut stored = node.load().unwrap();
    let mut rng = Rng::new(seed, 0);
    for _ in 0..10 {
        let mut batch = random_batch(&mut rng, &stored);
        batch.hard_state = None;
        stored.apply(&batch);
        node.begin(batch);
        disk.complete();
        assert_eq!(node.poll(), Poll::Ready(Ok(())));
    }
    (disk, stored)
}

#[derive(Default, Debug)]
struct Tally {
    detected: u32,
    harmless: u32,
}

impl Tally {
    fn take(&mut self, found: Result<Stored, DiskError>, expected: &Stored, what: impl Fn() -> String) {
        match found {
            Ok(found) if found == *expected => self.harmless += 1,
            Ok(_) => panic!("{}: wrong content, and nobody noticed", what()),
            Err(DiskError::Corrupt { .. } | DiskError::Foreign { .. } | DiskError::NewerFormat { .. }) => {
                self.detected += 1;
            }
            Err(error) => panic!("{}: rot is reported as {error}", what()),
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_or_harmless() {
    let mut tally = Tally::default();
    for seed in 0..12 {
        let (disk, expected) = with_history(seed);
        let mut rng = Rng::new(seed, 1);
        match seed % 2 {
            0 => disk.close(),
            _ => disk.crash(Loss::Process, &mut rng),
        }
        for _ in 0..100 {
            let rotten = disk.copy();
            rotten.rot(1, &mut rng);
            tally.take(rotten.clone().load(), &expected, || format!("seed {seed}"));
        }
    }
    println!("{tally:?}");
    assert!(tally.detected > 100 && tally.harmless > 100, "{tally:?}");
}

#[test]
fn every_bit_of_the_headers_is_guarded() {
    let mut tally = Tally::default();
    for crashed in [false, true] {
        let (disk, expected) = with_history(3);
        match crashed {
            true => disk.crash(Loss::Process, &mut Rng::new(3, 1)),
            false => disk.close(),
        }
        // Magic, format and checksum; both marks; redb's header and both of its commit slots.
        for byte in (0..24).chain(512..524).chain(1024..1036).chain(4096..4416) {
            for bit in 0..8 {
                let rotten = disk.copy();
                rotten.flip(byte, bit);
                tally.take(rotten.clone().load(), &expected, || format!("byte {byte}, bit {bit}"));
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.detected > 192, "{tally:?}");
}

#[test]
fn many_flipped_bits_are_noticed() {
    let mut tally = Tally::default();
    for seed in 0..40 {
        let (disk, expected) = with_history(seed);
        let mut rng = Rng::new(seed, 1);
        disk.crash(Loss::Process, &mut rng);
        for _ in 0..10 {
            let rotten = disk.copy();
            rotten.rot(50, &mut rng);
            tally.take(rotten.clone().load(), &expected, || format!("seed {seed}"));
        }
    }
    assert!(tally.detected > 300, "{tally:?}");
}

/// redb trusts what it reads once it is open, and writes some of it anew with checksums that fit. Whatever comes of that, nobody is served
/// what was never written: a write fails, the next opening refuses, or all is as it should be.
#[test]
fn a_store_that_rots_while_it_is_open_never_hands_it_out() {
    let mut tally = Tally::default();
    let mut at_once = 0;
    for seed in 0..150 {
        let (disk, mut expected) = with_history(seed);
        let mut node = disk.clone();
        let mut rng = Rng::new(seed, 1);
        let mut refused = None;
        for _ in 0..8 {
            disk.rot(1 << rng.below(7), &mut rng);
            let mut batch = random_batch(&mut rng, &expected);
            batch.hard_state = None;
            let after = {
                let mut after = expected.clone();
                after.apply(&batch);
                after
            };
            node.begin(batch);
            disk.complete();
            match node.poll() {
                Poll::Ready(Ok(())) => expected = after,
                Poll::Ready(Err(error)) => {
                    refused = Some(error);
                    break;
                }
                Poll::Pending => panic!("a batch that was completed is over"),
            }
        }
        at_once += u32::from(refused.is_some());
        if let Some(error) = refused {
            tally.take(Err(error), &expected, || format!("seed {seed}, while writing"));
        }
        drop(node);
        disk.crash(if seed % 2 == 0 { Loss::Process } else { Loss::Power }, &mut rng);
        tally.take(disk.clone().load(), &expected, || format!("seed {seed}, opened again"));
    }
    println!("{tally:?}, {at_once} while writing");
    assert!(tally.detected > 50, "{tally:?}");
}
