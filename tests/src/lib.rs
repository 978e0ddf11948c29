//! Whole-system tests; see the files in this crate's `tests/`.
