//! The simulator: a world for the production node, in virtual time, from one seed.

pub mod disk;
