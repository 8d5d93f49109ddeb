//! The program under test: `posta`, under a name that Cargo can tell from the program's own.

use std::process::ExitCode;

fn main() -> ExitCode {
    posta::main()
}
