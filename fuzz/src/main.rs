//! Fuzzing with the toolchain that builds everything else: the compiler's own coverage counters, and
//! libFuzzer linked in. `fuzz SECONDS` builds the targets, runs as many at once as there are cores, and
//! reduces each corpus to the smallest one with the same coverage. All inputs found stay in
//! `target/fuzz` for the next run.

use fuzz::{Target, corpus};
use std::{
    env, error, fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread::available_parallelism,
};

/// The number of seconds for each target, by default.
const SECONDS: &str = "60";

/// The number of octets in one input: a session of some dozens of commands.
const INPUT: u32 = 4_096;

/// The platform, which keeps the flags below away from build scripts.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The instrumentation that libFuzzer needs: which edges the program passed, and which values it
/// compared.
const COVERAGE: &str = "--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

fn main() -> ExitCode {
    let seconds = env::args().nth(1).unwrap_or_else(|| SECONDS.to_owned());
    match run(&seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(seconds: &str) -> Result<(), Box<dyn error::Error>> {
    let seconds: u32 =
        seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;
    let work = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("fuzz");
    let program = build(&work)?;
    let cores = available_parallelism().map_or(1, usize::from);
    for targets in Target::ALL.chunks(cores) {
        let mut running = Vec::new();
        for &target in targets {
            println!("fuzzing {} for {seconds} s", target.name());
            running.push((target, start(&program, &work, target, seconds)?));
        }
        for (target, mut child) in running {
            let name = target.name();
            if !child.wait()?.success() {
                return Err(format!(
                    "{name}: a promise was broken; {0}.log tells how, and the input lies in {0}/",
                    work.join(name).display()
                )
                .into());
            }
            merge(&program, &work, target)?;
        }
    }
    Ok(())
}

fn build(work: &Path) -> Result<PathBuf, Box<dyn error::Error>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "-p", "fuzz", "--bin", "target", "--features", "libfuzzer"]);
    cargo.args(["--target", PLATFORM, "--target-dir"]).arg(work).env("RUSTFLAGS", COVERAGE);
    match cargo.status()?.success() {
        true => Ok(work.join(PLATFORM).join("release/target")),
        false => Err("the targets cannot be built; libFuzzer needs g++".into()),
    }
}

/// Returns the path of a target's committed corpus.
fn committed(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name())
}

fn start(program: &Path, work: &Path, target: Target, seconds: u32) -> io::Result<Child> {
    let found = work.join(target.name());
    fs::create_dir_all(&found)?;
    for (index, input) in corpus::read(&committed(target))?.into_iter().enumerate() {
        fs::write(found.join(format!("committed-{index}")), input)?;
    }
    let log = fs::File::create(found.with_extension("log"))?;
    let mut command = Command::new(program);
    command.env("FUZZ_TARGET", target.name()).arg(&found).args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT}"),
        format!("-artifact_prefix={}/", found.display()),
        "-timeout=10".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    command.stdout(Stdio::null()).stderr(log).spawn()
}

fn merge(program: &Path, work: &Path, target: Target) -> Result<(), Box<dyn error::Error>> {
    let found = work.join(target.name());
    let merged = found.with_extension("merged");
    // The directory may be left over from an interrupted run.
    let _ = fs::remove_dir_all(&merged);
    fs::create_dir_all(&merged)?;
    let mut command = Command::new(program);
    command.env("FUZZ_TARGET", target.name()).arg("-set_cover_merge=1").stderr(Stdio::null());
    if !command.arg(&merged).arg(&found).status()?.success() {
        return Err(format!("{}: its corpus could not be merged", target.name()).into());
    }
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&merged)? {
        inputs.push(fs::read(entry?.path())?);
    }
    Ok(corpus::write(&committed(target), &mut inputs)?)
}
