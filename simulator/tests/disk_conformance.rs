//! The simulated disks keep the promises that the production disk keeps on real files.

use blixard_runtime::conformance::{DiskPlace, check_disk};
use blixard_sim::disk::{Engine, SimDisk};

struct Simulated(SimDisk);

impl DiskPlace for Simulated {
    type Disk = SimDisk;

    fn open(&mut self) -> SimDisk {
        self.0.close();
        self.0.clone()
    }

    fn wipe(&mut self) {
        self.0.lose();
    }

    fn finish(&mut self, _: &mut SimDisk) {
        self.0.complete();
    }
}

#[test]
fn redb_on_a_simulated_medium() {
    check_disk(&mut Simulated(SimDisk::new(Engine::Redb, "n1")));
}

#[test]
fn the_modelled_disk() {
    check_disk(&mut Simulated(SimDisk::new(Engine::Modelled, "n1")));
}
