//! The program under test: `posta`, under a name of its own, since Cargo requires distinct names.

use std::process::ExitCode;

fn main() -> ExitCode {
    posta::main()
}
