//! Writes the program's manual pages and completions: `posta-pages FOLDER` makes `man` and `completions` in it.
//!
//! They are made from the same definitions as `--help`, here and not in the program, so that it does not grow.

use clap_complete::{Shell, generate_to};
use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("name the folder: posta-pages FOLDER"));
    };
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    // `posta help VERB` shows what the pages of the verbs say.
    let command = posta::command_line().disable_help_subcommand(true);
    clap_mangen::generate_to(command.clone(), &man)?;
    // The names by which other programs call it: each is a page that leads to another one.
    for name in ["sendmail.8", "mailq.1", "newaliases.1"] {
        fs::write(man.join(name), ".so man1/posta-sendmail.1\n")?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command.clone(), "posta", &completions)?;
    }
    Ok(())
}
