//! The node as a whole: small clusters driven step by step.

mod basics;
mod cluster;
mod randomness;
mod transcripts;
