//! JSON as the Go tools read and write it.
//!
//! Reading: field names match in any case, the last of several spellings wins, `null` counts as absent, and fields
//! nobody asked for are kept ([`Fields::rest`]). Writing: the order of Go's structs, `<`, `>`, `&` and the two line
//! separators escaped. [`text`] is the step from and to bytes, [`fields`] the step from and to our types.

pub(crate) mod fields;
pub(crate) mod text;

pub(crate) use fields::{Fields, Object, Read, Write};

/// A JSON object in the order of its text.
pub type Map = serde_json::Map<String, serde_json::Value>;
