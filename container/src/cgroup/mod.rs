//! Control groups: limits, accounting, and the list of what runs in a container.
//!
//! Planning is pure: [`Layout`] says which controllers this host has and where, and [`CgroupPlan::new`] turns the
//! `resources` of a configuration into an ordered list of file writes, refusing what cannot be given with the name
//! of the field. [`CgroupPlan::create`] makes the directories, writes the files and returns a [`Cgroup`], which
//! processes enter through its [`Entry`].
//!
//! ```text
//! v1      one directory per hierarchy; freezer to list, to freeze and to kill
//! hybrid  as v1, but the unified hierarchy does that (and holds the controllers that v1 has not mounted)
//! v2      one directory
//! ```
//!
//! Directories made on the way to a cgroup have the sticky bit (it means nothing there): that is how whoever removes
//! the last container below them knows that they may go as well.

mod apply;
mod control;
mod devices;
mod error;
mod events;
mod layout;
mod leftovers;
mod live;
mod oom;
mod plan;
pub mod stats;
mod sub;
mod systemd;
mod tree;
mod update;
mod v1;
mod v2;

pub use error::Error;
pub use layout::{Layout, Version};
pub use live::{Cgroup, Entry, Saved};
pub use oom::OomWatch;
pub use plan::CgroupPlan;
pub use stats::Stats;
pub(crate) use systemd::ANNOTATION_PREFIX;

type Result<T, E = Error> = std::result::Result<T, E>;
