//! Getting images from elsewhere.

pub mod http;
