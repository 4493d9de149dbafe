//! App Container images at rest.

pub mod archive;
pub mod caller;
pub mod convert;
pub mod copy;
mod error;
mod extract;
pub mod fetch;
pub mod fingerprint;
#[doc(hidden)]
pub mod fuzzing;
pub mod layer;
pub mod layout;
pub mod measure;
pub mod oci;
mod parallel;
mod pour;
mod progress;
pub mod reference;
pub mod registry;
mod regular;
pub mod render;
pub mod stack;
pub mod store;
mod tree;
pub mod trust;
pub mod users;

pub use error::{Again, Error, Result, advice_on_io};
pub use progress::{Progress, Quiet};
pub use regular::open_regular;
