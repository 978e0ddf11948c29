//! The node as a whole: small clusters driven step by step.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod basics;
mod cluster;
mod guests;
mod levels;
mod office;
mod office_hosts;
mod office_members;
mod office_requests;
mod placement;
mod randomness;
mod transcripts;
mod volumes;
