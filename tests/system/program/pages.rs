//! What is written about the verbs: each has a manual page and is completed, and the documents name no verb or option
//! that does not exist.

use posta_tests::{posta, stdout};
use std::{fs, path::Path, process::Command};

/// Returns the verbs that the help of a verb lists.
fn verbs(of: &[String]) -> Vec<String> {
    let words: Vec<_> = of.iter().map(String::as_str).chain(["--help"]).collect();
    let help = stdout(&posta(&words, ""));
    if let Some((_, list)) = help.split_once(" tells more:\n") {
        // The first screen has groups: a title of 18 columns, and names with commas.
        let lines = list.lines().take_while(|line| line.starts_with("  "));
        let names = lines.flat_map(|line| line[18..].split(','));
        return names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    }
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let list = list.lines().take_while(|line| line.starts_with("  "));
    // A verb is indented by two blanks, the rest of its description by more.
    let first = list.filter(|line| !line.starts_with("   "));
    let names = first.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// Calls `look` with the words of each verb.
fn walk(of: &mut Vec<String>, look: &mut impl FnMut(&[String])) {
    for verb in verbs(of) {
        of.push(verb);
        look(of);
        walk(of, look);
        of.pop();
    }
}

fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_posta-pages");
    assert!(Command::new(program).arg(folder.path()).status().unwrap().success());
    folder
}

#[test]
fn every_verb_has_a_manual_page_and_is_completed() {
    let folder = made();
    let page = |name: &str| {
        fs::read_to_string(folder.path().join(format!("man/{name}.1"))).unwrap_or_default()
    };
    let completion =
        |name: &str| fs::read_to_string(folder.path().join("completions").join(name)).unwrap();
    let completions = [completion("posta.bash"), completion("_posta"), completion("posta.fish")];
    assert!(page("posta").contains(".TH posta 1"), "{}", page("posta"));
    let mut seen = 0;
    walk(&mut Vec::new(), &mut |words| {
        let name = format!("posta-{}", words.join("-"));
        let text = page(&name);
        assert!(text.contains(&format!(".TH {name} 1")), "{name}: {text}");
        assert!(text.contains("Example: posta "), "{name} has no example: {text}");
        for completion in &completions {
            assert!(completion.contains(words.last().unwrap()), "{name} is not completed");
        }
        seen += 1;
    });
    assert!(seen >= 60, "only {seen} verbs were seen");
    for name in ["sendmail.8", "mailq.1", "newaliases.1"] {
        let leads = fs::read_to_string(folder.path().join("man").join(name)).unwrap();
        assert_eq!(leads, ".so man1/posta-sendmail.1\n");
    }
    let pages = fs::read_dir(folder.path().join("man")).unwrap().count();
    let others = "one for the program, and one for each of the three names of `posta sendmail`";
    assert_eq!(pages, seen + 1 + 3, "a page for each verb, {others}");
}

/// The shells read what was made for them.
#[test]
fn completions_are_what_their_shells_read() {
    let folder = made();
    for (shell, file) in [("bash", "posta.bash"), ("zsh", "_posta"), ("fish", "posta.fish")] {
        let path = folder.path().join("completions").join(file);
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(ran) => assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr)),
            Err(_) => {
                posta_tests::skipped(&format!("completions for {shell}"), "it is not installed")
            }
        }
        assert!(Path::new(&path).is_file());
    }
}

/// Returns the commands in a document: those in its blocks of `sh`, and those between backticks.
fn commands(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_shell = false;
    for line in document.lines() {
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            is_shell = language == "sh";
        } else if is_shell {
            found.push(line.split("   #").next().unwrap().to_owned());
        } else {
            // Every second part is between backticks.
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found.retain(|command| command.starts_with("posta "));
    found
}

/// Returns what is wrong with a command: a verb or an option that does not exist.
fn problem(
    command: &str,
    help: &mut impl FnMut(&[String]) -> (String, Vec<String>),
) -> Option<String> {
    let mut path = Vec::new();
    let mut words = command.split_whitespace().skip(1).peekable();
    loop {
        let (text, verbs) = help(&path);
        let Some(word) = words.peek() else { break };
        if verbs.is_empty() || word.starts_with('-') || word.chars().all(char::is_uppercase) {
            break;
        }
        // As in `posta check DOMAIN`, beside `posta check message`.
        let takes_other = text.contains("\nArguments:\n");
        if takes_other && !verbs.iter().any(|verb| verb == word) {
            break;
        }
        // `posta smtp|pop3` and `list,` name several.
        for verb in word.trim_matches(['[', ']']).split('|') {
            if !verbs.iter().any(|known| known == verb.trim_end_matches(',')) {
                return Some(format!("{verb} is no verb: `{command}`"));
            }
        }
        let verb = word.trim_matches(['[', ']']).split('|').next().unwrap();
        path.push(verb.trim_end_matches(',').to_owned());
        words.next();
    }
    let (text, _) = help(&path);
    let unknown = words.find(|word| {
        let option = word.trim_matches(['[', ']', ',']);
        option.starts_with("--") && !text.contains(option.split(['=', '|']).next().unwrap())
    });
    unknown.map(|option| format!("{option} is no option of posta {}: `{command}`", path.join(" ")))
}

#[test]
fn the_commands_in_the_documents_exist() {
    let mut known = std::collections::HashMap::new();
    let mut help = |path: &[String]| {
        let look = || {
            let words: Vec<_> = path.iter().map(String::as_str).chain(["--help"]).collect();
            (stdout(&posta(&words, "")), verbs(path))
        };
        known.entry(path.to_vec()).or_insert_with(look).clone()
    };
    let wrong = "`posta account frobnicate` and `posta trace --frobnicate`";
    let found = commands(wrong);
    assert_eq!(found.iter().filter_map(|command| problem(command, &mut help)).count(), 2);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut problems = Vec::new();
    for name in ["docs/troubleshooting.md", "docs/manual.md", "README.md"] {
        let document = fs::read_to_string(folder.join(name)).unwrap();
        let found = commands(&document);
        assert!(found.len() >= 8, "{name} has commands");
        let wrong = found.iter().filter_map(|command| problem(command, &mut help));
        problems.extend(wrong.map(|problem| format!("{name}: {problem}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
