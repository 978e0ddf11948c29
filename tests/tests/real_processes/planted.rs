//! What ships holds no planted bug, nor the means to plant one.

use crate::binary::blixard;

/// `MARK` of `src/node/src/planted.rs`. The control, a binary that has it, is in `tests/tests/planted.rs`.
const MARK: &str = "bugs can be planted in this binary";

#[test]
fn no_bug_can_be_planted_in_what_ships() {
    let binary = std::fs::read(blixard()).unwrap();
    assert!(!String::from_utf8_lossy(&binary).contains(MARK));
}
