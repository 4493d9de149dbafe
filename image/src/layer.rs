//! Layers of OCI images: tars of what a layer adds, with marks for what it removes.
//!
//! A tree in *overlay form* is what the kernel takes as a layer of an overlay mount: a device 0:0 hides the file of its name in the
//! layers below, and a directory with the attribute `trusted.overlay.opaque` (an ordinary user's: `user.overlay.opaque`)
//! hides all that the same directory holds there. In a layer's tar the file `.wh.NAME` stands for the former, and
//! `.wh..wh..opq` in a directory for the latter.

mod read;

pub use read::{LayerOptions, UnpackedLayer, digest_layer, unpack_layer};
