//! The node as a whole: small clusters driven step by step.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bare;
mod basics;
mod cluster;
mod commands;
mod dispatch;
mod guests;
mod levels;
mod opening;
mod placement;
mod placing;
mod randomness;
mod reports;
mod retiring;
mod transcripts;
mod volumes;
