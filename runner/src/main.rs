//! `rkt`: runs container images as pods.
fn main() {}
