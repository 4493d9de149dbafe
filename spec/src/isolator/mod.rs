//! Isolators: limits and restrictions on an app or a pod, each a name and a JSON value.
//!
//! [`Isolators`] is the list in a manifest, [`Isolator`] what one of them means. The value is kept as it was read, so
//! that what is not understood is printed back unchanged; an unknown isolator is never an error.

mod set;
mod value;

pub use set::{IsolatorEntry, Isolators};
pub use value::{Isolator, Resource, SelinuxContext, Throughput};
