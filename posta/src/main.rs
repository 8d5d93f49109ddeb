//! The program. All of its code is in the library, so that the tests' package can build it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    posta::main()
}
