//! The App Container formats as plain data.
