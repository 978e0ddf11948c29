//! The daemon with real tonic, hyper and h2 on turmoil's simulated network: what the bytes on the way and the
//! connections under them go through. madsim has neither. `BLIXARD_TURMOIL_SEED` gives another run.
#![cfg(not(madsim))]

mod cluster;
mod scenarios;
mod transport;
