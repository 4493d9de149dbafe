//! `acbuild`: builds App Container Images.
fn main() {}
