//! `rkt-oci`: runs one OCI bundle.
fn main() {}
