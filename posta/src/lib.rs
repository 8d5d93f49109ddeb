//! Posta: a complete electronic-mail system in one program.

mod client;
mod command;
mod config;
mod data_directory;
mod help;
mod log;
mod mail_setup;
mod operator;
mod output;
mod private;
mod runtime;
mod wiring;

use crate::{config::Level, log::Log};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// The allocator, jemalloc, whose own thread returns free memory to the system some seconds later. glibc's keeps
/// what is not at the end of one of its heaps: half of what the removal of a million messages had taken stayed for
/// good.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Posta receives mail over SMTP, keeps it, and serves it over POP3. It is also the client that sends and
/// collects mail.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The level of the log on standard error; default: the level in the table [log].
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    log: Option<Level>,
}

#[derive(Subcommand)]
enum Command {
    Demo(command::demo::Arguments),
    Serve(command::serve::Arguments),
    #[command(subcommand)]
    Config(command::config::Command),
    #[command(subcommand)]
    Account(command::account::Command),
    #[command(subcommand)]
    Alias(command::alias::Command),
    #[command(subcommand)]
    Domain(command::domain::Command),
    Check(command::check::Arguments),
    #[command(subcommand)]
    Mail(command::mail::Command),
    #[command(subcommand)]
    Folder(command::folder::Command),
    #[command(subcommand)]
    Sender(command::account::sender::Command),
    #[command(subcommand)]
    Collect(command::collect::Command),
    #[command(subcommand)]
    Lockout(command::lockout::Command),
    #[command(subcommand)]
    Queue(command::queue::Command),
    #[command(subcommand)]
    Quarantine(command::queue::quarantine::Command),
    #[command(subcommand)]
    Reports(command::reports::Command),
    Trace(command::trace::Arguments),
    Explain(command::explain::Arguments),
    Send(command::client::send::Arguments),
    Fetch(command::client::fetch::Arguments),
    Talk(command::client::talk::Arguments),
    #[command(subcommand)]
    Bench(command::client::bench::Command),
}

/// Where the configuration and the data are, for every command that uses the server or its store.
#[derive(Args, Clone, Default)]
struct Place {
    /// The configuration file; default: $POSTA_CONFIG, /etc/posta/posta.toml, ./posta.toml.
    #[arg(long, value_name = "FILE", env = "POSTA_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// The data directory; default: the configuration's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs the command that the process was started with, and returns its exit status.
pub fn main() -> ExitCode {
    let matches = help::shaped(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let umask = private::close_what_is_made();
    let log = Log::start(cli.log.unwrap_or(Level::Warn));
    let done = run(cli.command, umask, cli.log, &log);
    log.flush();
    match done {
        Ok(status) => status,
        Err(error) => {
            output::complain(format_args!("{}", output::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command, and returns its exit status. `umask` is the one that the program was started with, `level` the value of `--log`.
fn run(command: Command, umask: u32, level: Option<Level>, log: &Log) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Check(arguments) => return Ok(command::check::run(arguments)),
        Command::Demo(arguments) => command::demo::run(arguments, umask),
        Command::Serve(arguments) => command::serve::run(&arguments, umask, level, log),
        Command::Config(command) => command::config::run(command),
        Command::Account(command) => command::account::run(command),
        Command::Alias(command) => command::alias::run(command),
        Command::Domain(command) => command::domain::run(command),
        Command::Mail(command) => command::mail::run(command),
        Command::Folder(command) => command::folder::run(command),
        Command::Sender(command) => command::account::sender::run(command),
        Command::Collect(command) => command::collect::run(command),
        Command::Lockout(command) => command::lockout::run(command),
        Command::Queue(command) => command::queue::run(command),
        Command::Quarantine(command) => command::queue::quarantine::run(command),
        Command::Reports(command) => command::reports::run(command),
        Command::Trace(arguments) => command::trace::run(arguments),
        Command::Explain(arguments) => command::explain::run(&arguments),
        Command::Send(arguments) => command::client::send::run(arguments),
        Command::Fetch(arguments) => command::client::fetch::run(arguments),
        Command::Talk(arguments) => command::client::talk::run(arguments),
        Command::Bench(command) => command::client::bench::run(command),
    };
    done.map(|()| ExitCode::SUCCESS)
}
