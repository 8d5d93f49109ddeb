//! Posta: a complete electronic-mail system in one program.

mod client;
mod command;
mod config;
mod data_directory;
mod fault;
pub mod foreign_files;
mod help;
mod log;
mod mail_setup;
mod operator;
mod output;
mod private;
mod runtime;
mod wiring;

use crate::{command::client::sendmail, config::Level, log::Log};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

/// The allocator, jemalloc, whose own thread returns free memory to the system some seconds later. glibc's keeps
/// what is not at the end of one of its heaps: half of what the removal of a million messages had taken stayed for
/// good. mimalloc is built sooner and keeps less, but gives memory back while sessions wait: beside strangers with a
/// thousand recipients each, 1% of logins took 8 ms instead of 5.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A complete mail server, with SMTP, POP3 and a queue; and the client that sends and collects mail.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log at this level: error, warn, info, debug; default: that of the table [log].
    #[arg(long, global = true, value_enum, value_name = "LEVEL", hide_possible_values = true)]
    log: Option<Level>,
}

#[derive(Subcommand)]
enum Command {
    Demo(command::demo::Arguments),
    Setup(command::config::setup::Arguments),
    Serve(command::serve::Arguments),
    Status(command::looking::status::Arguments),
    Top(command::looking::top::Arguments),
    Stats(command::looking::stats::Arguments),
    Reload(command::serve::reload::Arguments),
    #[command(subcommand)]
    Token(command::serve::token::Command),
    #[command(hide = true)]
    Openapi(command::serve::openapi::Arguments),
    #[command(subcommand)]
    Config(command::config::Command),
    #[command(subcommand)]
    Account(command::account::Command),
    Passwd(command::account::passwd::Arguments),
    #[command(subcommand)]
    Away(command::account::away::Command),
    #[command(subcommand)]
    Forward(command::account::forward::Command),
    #[command(subcommand)]
    Alias(command::alias::Command),
    #[command(subcommand)]
    Domain(command::domain::Command),
    #[command(subcommand)]
    Certificate(command::domain::certificate::Command),
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
    Export(command::mail::export::Command),
    #[command(subcommand)]
    Import(command::mail::import::Command),
    #[command(subcommand)]
    Lockout(command::lockout::Command),
    #[command(subcommand)]
    Cluster(command::looking::cluster::Command),
    #[command(subcommand)]
    Queue(command::queue::Command),
    #[command(subcommand)]
    Quarantine(command::queue::quarantine::Command),
    #[command(subcommand)]
    Reports(command::looking::reports::Command),
    Trace(command::looking::trace::Arguments),
    Backup(command::backup::Arguments),
    Restore(command::backup::restore::Arguments),
    #[command(subcommand)]
    Store(command::backup::store::Command),
    Explain(command::explain::Arguments),
    Send(command::client::send::Arguments),
    Fetch(command::client::fetch::Arguments),
    Talk(command::client::talk::Arguments),
    Sendmail(command::client::sendmail::Arguments),
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

/// Returns the definition of the command line, from which manual pages and completions are made too.
#[must_use]
pub fn command_line() -> clap::Command {
    help::shaped(Cli::command())
}

/// Runs the command that the process was started with, and returns its exit status.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    if let Some(given) = sendmail::called(&words) {
        return as_sendmail(&given);
    }
    let matches = command_line().try_get_matches_from(sendmail::for_clap(words));
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return fault::usage::show(&error),
    };
    let umask = private::close_what_is_made();
    let log = Log::start(cli.log.unwrap_or(Level::Warn));
    let done = run(cli.command, umask, cli.log, &log);
    log.flush();
    match done {
        Ok(status) => status,
        Err(error) => {
            output::complain_of(&output::chain(&error), fault::code_of(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs `sendmail`, whose command line clap cannot read. clap finds the configuration that the environment names.
fn as_sendmail(words: &[OsString]) -> ExitCode {
    private::close_what_is_made();
    let matches = command_line().try_get_matches_from(["posta", "sendmail"]);
    let config = match matches.as_ref().map(Cli::from_arg_matches) {
        Ok(Ok(Cli { command: Command::Sendmail(arguments), .. })) => arguments.config(),
        _ => None,
    };
    sendmail::run_called(words, config)
}

/// Runs a command, and returns its exit status. `umask` is the one that the program was started with, `level` the value of `--log`.
fn run(
    command: Command,
    umask: u32,
    level: Option<Level>,
    log: &Arc<Log>,
) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Check(arguments) => return Ok(command::check::run(arguments)),
        Command::Sendmail(arguments) => return Ok(sendmail::run(arguments)),
        Command::Demo(arguments) => command::demo::run(arguments, umask),
        Command::Setup(arguments) => command::config::setup::run(&arguments),
        Command::Serve(arguments) => command::serve::run(&arguments, umask, level, log),
        Command::Reload(arguments) => command::serve::reload::run(arguments),
        Command::Token(command) => command::serve::token::run(command),
        Command::Openapi(_) => command::serve::openapi::run(),
        Command::Config(command) => command::config::run(command),
        Command::Account(command) => command::account::run(command),
        Command::Passwd(arguments) => command::account::passwd::run(arguments),
        Command::Away(command) => command::account::away::run(command),
        Command::Forward(command) => command::account::forward::run(command),
        Command::Alias(command) => command::alias::run(command),
        Command::Domain(command) => command::domain::run(command),
        Command::Certificate(command) => command::domain::certificate::run(command),
        Command::Mail(command) => command::mail::run(command),
        Command::Folder(command) => command::folder::run(command),
        Command::Sender(command) => command::account::sender::run(command),
        Command::Collect(command) => command::collect::run(command),
        Command::Export(command) => command::mail::export::run(command),
        Command::Import(command) => command::mail::import::run(command),
        Command::Cluster(command) => command::looking::cluster::run(command),
        Command::Lockout(command) => command::lockout::run(command),
        Command::Queue(command) => command::queue::run(command),
        Command::Quarantine(command) => command::queue::quarantine::run(command),
        Command::Reports(command) => command::looking::reports::run(command),
        Command::Top(arguments) => command::looking::top::run(arguments),
        Command::Stats(arguments) => command::looking::stats::run(arguments),
        Command::Status(arguments) => command::looking::status::run(arguments),
        Command::Trace(arguments) => command::looking::trace::run(arguments),
        Command::Backup(arguments) => command::backup::run(&arguments),
        Command::Restore(arguments) => command::backup::restore::run(&arguments),
        Command::Store(command) => command::backup::store::run(command),
        Command::Explain(arguments) => command::explain::run(&arguments),
        Command::Send(arguments) => command::client::send::run(arguments),
        Command::Fetch(arguments) => command::client::fetch::run(arguments),
        Command::Talk(arguments) => command::client::talk::run(arguments),
        Command::Bench(command) => command::client::bench::run(command),
    };
    done.map(|()| ExitCode::SUCCESS)
}
