//! The program `rkt`. Everything is in the library beside it, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rkt::cli::main(std::env::args_os().collect()))
}
