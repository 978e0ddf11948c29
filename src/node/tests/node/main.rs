//! The node as a whole: small clusters driven step by step.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bare;
mod basics;
mod cluster;
mod commands;
mod deposed;
mod directory;
mod dispatch;
mod guests;
mod host;
mod host_and_leaders;
mod host_ends;
mod host_joins;
mod host_starts;
mod joint;
mod levels;
mod levels_on_disk;
mod office;
mod office_hosts;
mod office_members;
mod office_requests;
mod opening;
mod overtaken;
mod placement;
mod placing;
mod randomness;
mod reads;
mod replication;
mod reports;
mod retiring;
mod transcripts;
mod volumes;
