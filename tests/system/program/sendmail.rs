//! `sendmail`, as cron, PHP and git run it: with a server, without one, and with one that is killed.

use posta_tests::{Place, pop3, program, skipped, stdout};
use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

/// A user of the machine who is nobody in particular.
const NOBODY: u32 = 65_534;

/// Makes a server with a spool, for ana@x.test, who is the postmaster, and bob@x.test.
fn place() -> Place {
    let place = Place::new(&[("pop3", "none")]);
    let config = fs::read_to_string(place.config()).unwrap();
    let (keys, tables) = config.split_once("[limits]").unwrap();
    let spool = spool(&place).display().to_string();
    fs::write(place.config(), format!("{keys}spool = \"{spool}\"\n[limits]{tables}")).unwrap();
    for name in ["sendmail", "mailq", "newaliases"] {
        symlink(program(), place.directory.path().join(name)).unwrap();
    }
    // Every user of a machine can read its configuration.
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.config(), fs::Permissions::from_mode(0o644)).unwrap();
    place.add_account("ana@x.test");
    place.add_account("bob@x.test");
    place
}

fn spool(place: &Place) -> PathBuf {
    place.directory.path().join("spool")
}

/// Makes the spool, as the package does.
fn make_spool(place: &Place) {
    fs::create_dir(spool(place)).unwrap();
    fs::set_permissions(spool(place), fs::Permissions::from_mode(0o3733)).unwrap();
}

/// Returns the command of this name, run by this user, or by the test's.
fn command(place: &Place, name: &str, arguments: &[&str], uid: Option<u32>) -> Command {
    let mut command = Command::new(place.directory.path().join(name));
    command.args(arguments).env("POSTA_CONFIG", place.config()).current_dir("/");
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command
}

fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it; that is no error here.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn sendmail(place: &Place, arguments: &[&str], input: &str) {
    let sent = run(command(place, "sendmail", arguments, None), input);
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
    assert!(sent.stdout.is_empty() && sent.stderr.is_empty(), "cron would mail it: {sent:?}");
}

/// Returns the messages of a mailbox, once there are as many.
fn messages(place: &Place, who: &str, count: usize) -> Vec<String> {
    for _ in 0..200 {
        let mut wire = pop3(place.address("pop3"), who);
        if wire.listing("LIST").len() >= count {
            let all = 1..=wire.listing("LIST").len();
            return all.map(|at| wire.listing(&format!("RETR {at}")).join("\n")).collect();
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{who} has not got {count} messages:\n{}", place.log().join("\n"));
}

fn in_spool(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The message is gone from the spool once it is in the mailbox, or a moment later.
fn is_empty(path: &Path) {
    for _ in 0..100 {
        if in_spool(path).is_empty() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("still in the spool: {:?}", in_spool(path));
}

#[test]
fn programs_send_without_a_password() {
    let mut place = place();
    place.start();
    let cron = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@mail> backup\n\nall\rdone\n.\nreally\n";
    sendmail(&place, &["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"], cron);
    let got = &messages(&place, "ana", 1)[0];
    for line in [
        "From: root@mail.x.test (Cron Daemon)",
        "To: root@mail.x.test",
        "Delivered-To: root@mail.x.test",
        "Subject: Cron <root@mail> backup",
        "\nall\ndone\n..\nreally",
    ] {
        assert!(got.contains(line), "{line:?} is missing:\n{got}");
    }
    for field in ["\nDate: ", "\nMessage-ID: <", "\nReceived: by mail.x.test (Posta, from user "] {
        assert!(got.contains(field), "{field:?} is missing:\n{got}");
    }
    // PHP: recipients from the header section, one of them blind; an envelope sender; no From.
    let php = "To: Ana <ana@x.test>\r\nBcc: bob\r\nSubject: Ș\r\nX-Gone: a\rBcc: eve@x.test\r\n\r\nBody\r\n.\r\nnot read\r\n";
    sendmail(&place, &["-t", "-fwww@x.test", "-F", "Web, \"Shop\""], php);
    for (who, count) in [("ana", 2), ("bob", 1)] {
        let all = messages(&place, who, count);
        let got = &all[count - 1];
        assert!(got.contains("\nFrom: \"Web, \\\"Shop\\\"\" <www@x.test>"), "{got}");
        assert!(got.contains("Return-Path: <www@x.test>"), "{got}");
        assert!(got.contains("\nX-Gone: a Bcc: eve@x.test\n"), "a CR adds no field: {got}");
        assert!(!got.contains("\nBcc:") && !got.contains("not read"), "{got}");
    }
    is_empty(&spool(&place));
    let told = stdout(&place.posta(&["trace", "www@x.test"], ""));
    assert!(told.contains("this machine (user ") && told.contains(") by sendmail"), "{told}");
    let line = place.logged("taken from the spool");
    assert!(line.contains("uid="), "{line}");
    assert!(stdout(&run(command(&place, "newaliases", &[], None), "")).contains("at once"));
}

/// What is handed over while no server runs waits, and arrives once.
#[test]
fn without_a_server_mail_waits() {
    let mut place = place();
    make_spool(&place);
    sendmail(&place, &["-oi", "-f", "ana@x.test", "bob@x.test"], "Subject: down\n\nx\n");
    sendmail(&place, &["bob@x.test"], "no header section");
    assert_eq!(in_spool(&spool(&place)).len(), 2);
    let listed = stdout(&run(command(&place, "mailq", &[], None), ""));
    assert_eq!(listed.matches("not taken by the server yet").count(), 2, "{listed}");
    place.start();
    let got = messages(&place, "bob", 2).join("\n");
    assert!(got.contains("Subject: down") && got.contains("\n\nno header section"), "{got}");
    is_empty(&spool(&place));
    let listed = stdout(&run(command(&place, "mailq", &["-v"], None), ""));
    assert_eq!(listed, "Mail queue is empty\n");
    assert_eq!(place.stop(), Some(0));
    place.start();
    assert_eq!(messages(&place, "bob", 2).len(), 2, "nothing comes twice");
}

/// kill -9 while the spool is taken, again and again: every message arrives once.
#[test]
fn kill_9_while_the_spool_is_taken_loses_and_doubles_nothing() {
    const MESSAGES: usize = 400;
    let mut place = place();
    make_spool(&place);
    // `-bs` puts them there in one session.
    let mut dialogue = "EHLO pine.test\r\n".to_owned();
    for number in 0..MESSAGES {
        dialogue.push_str("MAIL FROM:<ana@x.test>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n");
        dialogue.push_str(&format!("Subject: number {number:04}.\r\n\r\n..dot\r\n.\r\n"));
    }
    dialogue.push_str("QUIT\r\n");
    let spoken = stdout(&run(command(&place, "sendmail", &["-bs"], None), &dialogue));
    assert!(spoken.starts_with("220 mail.x.test "), "{spoken}");
    assert_eq!(spoken.matches("250 2.0.0 Ok: kept as ").count(), MESSAGES, "{spoken}");
    assert_eq!(in_spool(&spool(&place)).len(), MESSAGES);
    let mut kills = 0;
    for after in [5, 15, 30, 60, 90, 120] {
        place.start();
        sleep(Duration::from_millis(after));
        place.kill();
        kills += usize::from(!in_spool(&spool(&place)).is_empty());
    }
    println!("killed {kills} times before all was taken");
    assert!(kills > 0, "the spool was empty before the server was killed");
    place.start();
    is_empty(&spool(&place));
    let got = messages(&place, "bob", MESSAGES);
    assert_eq!(got.len(), MESSAGES, "nothing comes twice");
    for number in 0..MESSAGES {
        let subject = format!("Subject: number {number:04}.");
        assert!(got.iter().any(|message| message.contains(&subject)), "{subject} is lost");
    }
    assert!(got[0].ends_with("\n..dot"), "{}", got[0]);
}

/// The program has ended when its recipient turns out to be nobody, so the sender is told by mail.
#[test]
fn who_is_refused_is_reported() {
    let mut place = place();
    place.start();
    sendmail(&place, &["-f", "bob@x.test", "nobody@x.test", "ana@x.test"], "Subject: both\n\nx\n");
    assert!(messages(&place, "ana", 1)[0].contains("Subject: both"));
    let report = &messages(&place, "bob", 1)[0];
    assert!(report.contains("nobody@x.test") && report.contains("No such user here"), "{report}");
    sendmail(&place, &["-f", "bob@x.test", "nobody@x.test"], "Subject: only\n\nx\n");
    let report = &messages(&place, "bob", 2)[1];
    assert!(report.contains("Subject: only") && report.contains("Status: 5.1.1"), "{report}");
    is_empty(&spool(&place));
    assert!(stdout(&place.posta(&["trace", "nobody@x.test"], "")).contains("a report (failed)"));
    // A file that no `sendmail` wrote is told of, and does not come back.
    fs::write(spool(&place).join("01kc7hzv8r5k2mtnq4xw"), "junk").unwrap();
    sendmail(&place, &["ana@x.test"], "Subject: goes on\n\nx\n");
    assert!(messages(&place, "ana", 2)[1].contains("goes on"));
    let line = place.logged("no message that can be taken");
    assert!(line.contains("aside-01kc7hzv8r5k2mtnq4xw"), "{line}");
}

/// Another user sends in any name for mailboxes here, in those of the domains here for others, and sees nobody's mail.
#[test]
fn users_of_the_machine_are_kept_apart() {
    let mut place = place();
    make_spool(&place);
    let as_nobody = |name: &str, arguments: &[&str], input: &str| {
        run(command(&place, name, arguments, Some(NOBODY)), input)
    };
    let can_be_nobody = Command::new(program()).arg("--version").uid(NOBODY).output();
    if !can_be_nobody.is_ok_and(|ran| ran.status.success()) {
        skipped("users_of_the_machine_are_kept_apart", "only root can be another user");
        return;
    }
    let sent = as_nobody("sendmail", &["-f", "eve@z.test", "ana@x.test"], "Subject: nobody\n\nx\n");
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
    sendmail(&place, &["bob@x.test"], "Subject: of root\n\nsecret\n");
    for (uid, script) in
        [(NOBODY, "ls \"$0\""), (NOBODY, "cat \"$0\"/*"), (NOBODY, "rm -f \"$0\"/*")]
    {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(spool(&place)).uid(uid).gid(uid).current_dir("/");
        let tried = run(shell, "");
        assert!(tried.stdout.is_empty(), "{script}: {tried:?}");
    }
    let names = in_spool(&spool(&place));
    assert_eq!(names.len(), 2, "nothing was removed");
    for name in names {
        // Even who knows the name cannot read or take what is root's.
        let path = spool(&place).join(name);
        let is_roots =
            fs::metadata(&path).is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0);
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat \"$0\" || mv \"$0\" \"$0\".x"]).arg(&path);
        if is_roots {
            let tried = run(
                {
                    shell.uid(NOBODY).gid(NOBODY);
                    shell
                },
                "",
            );
            assert!(!tried.status.success() && tried.stdout.is_empty(), "{tried:?}");
        }
    }
    let listed = as_nobody("mailq", &[], "");
    assert_eq!(listed.status.code(), Some(77), "{}", String::from_utf8_lossy(&listed.stderr));
    place.start();
    let got = &messages(&place, "ana", 1)[0];
    assert!(got.contains(&format!("(Posta, from user {NOBODY})")), "{got}");
    let as_nobody = |arguments: &[&str]| {
        let sent = run(command(&place, "sendmail", arguments, Some(NOBODY)), "Subject: out\n\nx\n");
        assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
    };
    // The first may leave. The second may not, and its sender wants no report; the history tells of it.
    as_nobody(&["-f", "bob@x.test", "far@elsewhere.invalid"]);
    as_nobody(&["-f", "ana@y.invalid", "-N", "never", "far@elsewhere.invalid"]);
    let words = "only mail from an address of a domain here may leave";
    for _ in 0..100 {
        if stdout(&place.posta(&["trace", "far@elsewhere.invalid"], "")).contains(words) {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("the refusal is in no history:\n{}", place.log().join("\n"));
}

#[test]
fn exit_codes_are_those_of_sysexits() {
    let place = place();
    let run = |arguments: &[&str], input: &str| {
        let ran = run(command(&place, "sendmail", arguments, None), input);
        (ran.status.code().unwrap(), String::from_utf8(ran.stderr).unwrap())
    };
    let (status, words) = run(&["ana@x.test"], "x");
    assert!(status == 69 && words.contains("install -d -m 3733"), "{status} {words}");
    make_spool(&place);
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(
        place.config(),
        config.replace("[limits]\n", "[limits]\nmessage-size = \"70000B\"\n"),
    )
    .unwrap();
    let large = "x\n".repeat(40_000);
    for (arguments, input, expected, said) in [
        (&["-Z"][..], "", 64, "no option -Z"),
        (&[], "Subject: x\n\n", 64, "no recipients"),
        (&["-bd"], "", 64, "posta serve"),
        (&["-t"], "Subject: x\n\n", 65, "no recipients"),
        (&["-t"], "To: a b\n\n", 65, "the field To cannot be read"),
        (&["ana@"], "", 67, "no address"),
        (&["-t"], "To: ana@x..test\n\n", 67, "no address"),
        (&["ana@x.test"], &large, 69, "limits.message-size"),
        (&["-C", "/no/such.toml", "ana@x.test"], "", 78, "/no/such.toml"),
        (&["ana@x.test"], "fits", 0, ""),
        (&["-bi"], "", 0, ""),
        (&["-q"], "", 0, ""),
    ] {
        let (status, words) = run(arguments, input);
        assert!(status == expected && words.contains(said), "{arguments:?}: {status} {words}");
    }
    assert_eq!(in_spool(&spool(&place)).len(), 1, "what failed left nothing");
    let help = stdout(&Command::new(program()).args(["sendmail", "--help"]).output().unwrap());
    assert!(help.contains("-t ") && help.contains("Example: posta sendmail"), "{help}");
    let mailq = command(&place, "mailq", &["--help"], None).output().unwrap();
    assert_eq!(stdout(&mailq), help, "under every name");
}

/// git hands its messages over with a real command line of its own.
#[test]
fn git_sends_by_it() {
    let mut place = place();
    place.start();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=Ana Pop", "-c", "user.email=ana@x.test"])
            .args(["-c", "sendemail.confirm=never", "-c", "sendemail.suppressfrom=true"])
            .args(arguments)
            .env("POSTA_CONFIG", place.config())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", place.directory.path())
            .current_dir(place.directory.path());
        command.output()
    };
    if !git(&["send-email", "-h"]).is_ok_and(|ran| {
        String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).contains("--to")
    }) {
        skipped("git_sends_by_it", "git send-email is not installed");
        return;
    }
    let path = place.directory.path().join("0001.patch");
    let patch = "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n\
        From: Ana Pop <ana@x.test>\nDate: Sun, 29 Nov 2026 00:00:00 +0000\nSubject: [PATCH] Mend it\n\n---\n";
    fs::write(&path, patch).unwrap();
    let server = format!("--smtp-server={}", place.directory.path().join("sendmail").display());
    let path = path.to_str().unwrap().to_owned();
    let sent = git(&["send-email", &server, "--to=bob@x.test", "--quiet", &path]).unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let got = &messages(&place, "bob", 1)[0];
    assert!(got.contains("Subject: [PATCH] Mend it") && got.contains("<ana@x.test>"), "{got}");
}
