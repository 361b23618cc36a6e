//! Parse arguments, call the command, print the error.

use std::process::ExitCode;

fn main() -> ExitCode {
    taciturn::cli::main()
}
