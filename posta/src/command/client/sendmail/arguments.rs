//! The command line of Sendmail, as programs write it.
//!
//! Single letters, which may stand together (`-ti`), each value in the same word or the next (`-fANA`, `-f ANA`). Recipients
//! may stand between options. Postfix and Exim read it in the same way.

use super::exit::{SendmailFailure, Sysexit};
use posta_mail::envelope::{Notify, Return};
use std::{ffi::OsString, path::PathBuf};

/// Options with a value that mean nothing here: the body's kind, debugging, the number of hops, the log tag, the error
/// mode, options of Sendmail's configuration, the protocol that brought it, the submission mode, a log of the traffic.
const VALUED: &str = "ABDdeLhmMOopXx";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendmailMode {
    /// Take a message from standard input.
    Message,
    /// Speak SMTP on standard input and output.
    Session,
    /// List the queue.
    List,
    /// Send what is in the queue.
    Run,
    /// Read the aliases anew.
    Aliases,
}

/// The arguments that were given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) mode: SendmailMode,
    /// The recipients on the command line; each may be a list of addresses.
    pub(super) recipients: Vec<String>,
    /// Whether those in the header section are recipients as well.
    pub(super) from_header: bool,
    /// Whether a line with a dot ends the message.
    pub(super) ends_at_dot: bool,
    pub(super) sender: Option<String>,
    pub(super) full_name: Option<String>,
    pub(super) notify: Option<Notify>,
    pub(super) ret: Option<Return>,
    pub(super) envelope_id: Option<String>,
    pub(super) config: Option<PathBuf>,
    /// Which part of the queue is meant: its kind, and a name.
    pub(super) selection: Option<(char, String)>,
}

impl Given {
    /// Reads a command line.
    pub(super) fn read(words: &[OsString]) -> Result<Self, SendmailFailure> {
        let mut given = Self {
            mode: SendmailMode::Message,
            recipients: Vec::new(),
            from_header: false,
            ends_at_dot: true,
            sender: None,
            full_name: None,
            notify: None,
            ret: None,
            envelope_id: None,
            config: None,
            selection: None,
        };
        let mut words = words.iter();
        let mut only_recipients = false;
        while let Some(word) = words.next() {
            let text = word.to_str();
            let text = text.ok_or_else(|| {
                let words = format!("{word:?} is not text in UTF-8, and can be no address");
                Sysexit::Usage.says(words)
            })?;
            match text.strip_prefix('-') {
                Some("-") if !only_recipients => only_recipients = true,
                Some(letters) if !only_recipients && !letters.is_empty() => {
                    given.letters(letters, &mut words)?;
                }
                _ => given.recipients.push(text.to_owned()),
            }
        }
        Ok(given)
    }

    /// Reads a word of options.
    fn letters(
        &mut self,
        letters: &str,
        words: &mut std::slice::Iter<'_, OsString>,
    ) -> Result<(), SendmailFailure> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            match letter {
                't' => self.from_header = true,
                'i' => self.ends_at_dot = false,
                'I' => self.mode = SendmailMode::Aliases,
                // The operator's wish to see more, or none to be told; both mean nothing here.
                'v' | 'n' | 'U' | 'G' | 's' | 'E' | 'T' => {}
                'q' => {
                    self.run_queue(rest.as_str());
                    return Ok(());
                }
                'b' | 'f' | 'r' | 'F' | 'C' | 'N' | 'R' | 'V' | 'o' => {
                    let value = value(letter, rest.as_str(), words)?;
                    return self.valued(letter, value);
                }
                // Its value is part of the word, or missing.
                'd' | 'm' | 'e' | 'M' if rest.as_str().is_empty() => {}
                _ if VALUED.contains(letter) => {
                    value(letter, rest.as_str(), words)?;
                    return Ok(());
                }
                _ => {
                    let words = format!(
                        "there is no option -{letter}: `posta sendmail --help` lists those that there are"
                    );
                    return Err(Sysexit::Usage.says(words));
                }
            }
        }
        Ok(())
    }

    fn valued(&mut self, letter: char, value: String) -> Result<(), SendmailFailure> {
        match letter {
            'f' | 'r' => self.sender = Some(value),
            'F' => self.full_name = Some(value),
            'C' => self.config = Some(value.into()),
            'V' => self.envelope_id = Some(value),
            'N' => self.notify = Some(notify(&value)?),
            'R' => self.ret = Some(ret(&value)?),
            // -oi, or -o i; of all others none changes anything here.
            'o' => self.ends_at_dot &= value != "i",
            _ => self.mode = mode(&value)?,
        }
        Ok(())
    }

    fn run_queue(&mut self, rest: &str) {
        self.mode = SendmailMode::Run;
        let mut rest = rest.chars();
        // -qIid, -qRdomain, -qSsender; a time, as in -q30m, is how often Sendmail would do it.
        if let Some(kind @ ('I' | 'R' | 'S')) = rest.next() {
            self.selection = Some((kind, rest.as_str().to_owned()));
        }
    }
}

/// Returns the value of an option: the rest of its word, or the next word.
fn value(
    letter: char,
    rest: &str,
    words: &mut std::slice::Iter<'_, OsString>,
) -> Result<String, SendmailFailure> {
    if !rest.is_empty() {
        return Ok(rest.to_owned());
    }
    let next = words.next().and_then(|word| word.to_str());
    let words = || format!("the option -{letter} needs a value");
    next.map(str::to_owned).ok_or_else(|| Sysexit::Usage.says(words()))
}

fn mode(value: &str) -> Result<SendmailMode, SendmailFailure> {
    match value {
        "m" => Ok(SendmailMode::Message),
        "s" => Ok(SendmailMode::Session),
        "p" => Ok(SendmailMode::List),
        "i" => Ok(SendmailMode::Aliases),
        "d" | "D" | "l" => Err(Sysexit::Usage.says("the server is started by `posta serve`")),
        other => {
            let words = format!("there is no -b{other} here, but -bm, -bs, -bp and -bi");
            Err(Sysexit::Usage.says(words))
        }
    }
}

/// Reads the events to report (RFC 3461 §4.1).
fn notify(value: &str) -> Result<Notify, SendmailFailure> {
    if value.eq_ignore_ascii_case("never") {
        return Ok(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "success" => notify.success = true,
            "failure" => notify.failure = true,
            "delay" => notify.delay = true,
            _ => {
                let words = format!("-N {value}: never, or some of success,failure,delay");
                return Err(Sysexit::Usage.says(words));
            }
        }
    }
    Ok(notify)
}

/// Reads what a report includes (RFC 3461 §4.3).
fn ret(value: &str) -> Result<Return, SendmailFailure> {
    match value.to_ascii_lowercase().as_str() {
        "full" => Ok(Return::Full),
        "hdrs" => Ok(Return::Headers),
        _ => Err(Sysexit::Usage.says(format!("-R {value}: full or hdrs"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Given, SendmailFailure> {
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        Given::read(&words)
    }

    /// The command lines of real programs.
    #[test]
    fn what_programs_write() {
        for (line, to, from_header, ends_at_dot, sender) in [
            // PHP; cron of Debian and of BSD; git send-email; mutt; smartd's mail; logwatch; a mailing list.
            ("-t -i", &[][..], true, false, None),
            ("-t -i -fwww@x.test", &[], true, false, Some("www@x.test")),
            ("-FCronDaemon -i -odi -oem -oi -t -f root", &[], true, false, Some("root")),
            ("-i -B8BITMIME -oem root", &["root"], false, false, None),
            ("-FCronDaemon -i -B 8BITMIME -oem ana", &["ana"], false, false, None),
            ("-i ana@x.test bob@y.test", &["ana@x.test", "bob@y.test"], false, false, None),
            (
                "-oem -oi -f ana@x.test -- bob@y.test",
                &["bob@y.test"],
                false,
                false,
                Some("ana@x.test"),
            ),
            ("-oem -ti -N failure,delay -R hdrs -V x1", &[], true, false, None),
            ("bob@y.test -r ana@x.test", &["bob@y.test"], false, true, Some("ana@x.test")),
            ("-tif ana@x.test", &[], true, false, Some("ana@x.test")),
            ("-f <> -- -odd@x.test", &["-odd@x.test"], false, true, Some("<>")),
            ("-Am -v -O DeliveryMode=b -X /dev/null -o i ana", &["ana"], false, false, None),
            ("-m -d -em -h 3 -p smtp:x -Lcron ana", &["ana"], false, true, None),
            ("- ana", &["-", "ana"], false, true, None),
        ] {
            let given = read(line).unwrap();
            assert_eq!(given.recipients, to, "{line}");
            assert_eq!(
                (given.from_header, given.ends_at_dot),
                (from_header, ends_at_dot),
                "{line}"
            );
            assert_eq!(
                (given.sender.as_deref(), given.mode),
                (sender, SendmailMode::Message),
                "{line}"
            );
        }
        let given = read("-oem -ti -N failure,delay -R hdrs -V x1 -C/etc/p -F A").unwrap();
        assert_eq!(given.notify, Some(Notify::default()));
        assert_eq!((given.ret, given.envelope_id.as_deref()), (Some(Return::Headers), Some("x1")));
        assert_eq!((given.config, given.full_name.as_deref()), (Some("/etc/p".into()), Some("A")));
    }

    #[test]
    fn modes() {
        for (line, mode, selection) in [
            ("-bs", SendmailMode::Session, None),
            ("-bm", SendmailMode::Message, None),
            ("-b p", SendmailMode::List, None),
            ("-bi", SendmailMode::Aliases, None),
            ("-I", SendmailMode::Aliases, None),
            ("-q", SendmailMode::Run, None),
            ("-q30m", SendmailMode::Run, None),
            ("-qRx.test", SendmailMode::Run, Some(('R', "x.test".to_owned()))),
            (
                "-qI01kc7hzv8r5k2mtnq4xw",
                SendmailMode::Run,
                Some(('I', "01kc7hzv8r5k2mtnq4xw".to_owned())),
            ),
        ] {
            let given = read(line).unwrap();
            assert_eq!((given.mode, given.selection), (mode, selection), "{line}");
        }
    }

    #[test]
    fn mistakes_are_of_usage() {
        for (line, said) in [
            ("-Z ana", "no option -Z"),
            ("-f", "-f needs a value"),
            ("-bd", "posta serve"),
            ("-bv ana", "no -bv"),
            ("-N sometimes ana", "never, or some of"),
            ("-R half ana", "full or hdrs"),
        ] {
            let failure = read(line).unwrap_err();
            assert_eq!(failure.status, Sysexit::Usage, "{line}");
            assert!(failure.error.to_string().contains(said), "{line}: {}", failure.error);
        }
    }
}
