//! OCI builds: what is said of the image, the layers it lies on, and how it is written.
//!
//! `currentaci/rootfs` is the whole root file system, so that commands work on it as in every other build. The layers
//! below it are trees: those of the image that the build began with lie in the store, those that `layer` closed lie in
//! `.acbuild/layers`. The open layer is nothing but the difference between the two, and is looked for when it is needed.
//! Nothing is compressed before `write`, and what was begun with is taken over as it was fetched.

mod begin;
mod config;
mod edit;
mod image;
mod layers;
mod names;
mod squash;
mod write;

pub(crate) use begin::{begin, lay_down, merge, of_stored};
pub(crate) use config::{Config, Run};
pub(crate) use image::Image;
pub(crate) use layers::{Closing, place};
pub(crate) use squash::squash;
pub(crate) use write::{put, put_edited, put_index};
