//! Linearizability of histories.
