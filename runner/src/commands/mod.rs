//! One file per command: `Args` (its command line, by `clap`) and `run(&Global, Args) -> Outcome`, which calls one
//! function and prints through [`crate::output`]. Errors are returned; [`crate::cli`] prints them.

pub mod version;
