//! Attacks on the host and on other containers, one test or more for each number of the list of attacks that a runtime
//! must survive. Each shows its attack failing; [`attack::Attack`] then looks at the host, whatever the test did.
//!
//! `tests/hostile/long.sh` runs the races among them far more often.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod attack;
#[path = "../../container/tests/common/mod.rs"]
mod common;

mod cgroups;
mod checkpoints;
mod consoles;
mod descriptors;
mod devices;
mod filters;
mod hooks;
mod labels;
mod logs;
mod mounts;
mod names;
mod places;
mod programs;
mod races;
mod resources;
mod rights;
mod sources;
mod states;
mod stuck;
mod users;
