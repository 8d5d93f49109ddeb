//! What the server says to people, in the languages that it speaks (RFC 6856 §3). Response codes and
//! keywords are for programs, and the same in each.

/// A language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    English,
    Romanian,
}

/// Every language: its tag (RFC 5646), and its name in itself.
pub(crate) const LANGUAGES: [(Language, &str, &str); 2] =
    [(Language::English, "en", "English"), (Language::Romanian, "ro", "Română")];

/// The words of a language.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) greeting: &'static str,
    pub(crate) bye: &'static str,
    pub(crate) go_ahead: &'static str,
    pub(crate) here: &'static str,
    pub(crate) password_please: &'static str,
    pub(crate) capabilities: &'static str,
    pub(crate) mechanisms: &'static str,
    pub(crate) languages: &'static str,
    pub(crate) utf8: &'static str,
    pub(crate) unique_ids: &'static str,
    pub(crate) top: &'static str,
    pub(crate) marked: &'static str,
    pub(crate) messages: &'static str,
    pub(crate) octets: &'static str,
    /// What QUIT says behind the number of messages that it removed: of one, of few, of many.
    pub(crate) removed: [&'static str; 3],
    pub(crate) unknown_command: &'static str,
    pub(crate) too_long: &'static str,
    pub(crate) not_http: &'static str,
    pub(crate) name_needed: &'static str,
    pub(crate) name_no_text: &'static str,
    pub(crate) no_argument: &'static str,
    pub(crate) number_needed: &'static str,
    pub(crate) top_usage: &'static str,
    pub(crate) apop_usage: &'static str,
    pub(crate) auth_usage: &'static str,
    pub(crate) no_such_message: &'static str,
    pub(crate) no_such_language: &'static str,
    pub(crate) tls_on: &'static str,
    pub(crate) no_tls: &'static str,
    pub(crate) needs_tls: &'static str,
    pub(crate) user_first: &'static str,
    pub(crate) login_first: &'static str,
    pub(crate) before_login: &'static str,
    pub(crate) no_apop: &'static str,
    pub(crate) no_mechanism: &'static str,
    pub(crate) no_base64: &'static str,
    pub(crate) cancelled: &'static str,
    pub(crate) wrong: &'static str,
    pub(crate) unavailable: &'static str,
    pub(crate) locked: &'static str,
    pub(crate) disabled: &'static str,
    pub(crate) send_only: &'static str,
    pub(crate) too_many: &'static str,
    pub(crate) too_soon: &'static str,
    pub(crate) ended: &'static str,
    pub(crate) expired: &'static str,
    pub(crate) unreadable: &'static str,
    pub(crate) damaged: &'static str,
    pub(crate) nothing_removed: &'static str,
    pub(crate) crowded: &'static str,
    pub(crate) stopping: &'static str,
}

const ENGLISH: Words = Words {
    greeting: "POP3 Posta",
    bye: "bye",
    go_ahead: "go ahead",
    here: "here",
    password_please: "password, please",
    capabilities: "capabilities follow",
    mechanisms: "mechanisms follow",
    languages: "languages follow",
    utf8: "UTF-8 is welcome",
    unique_ids: "unique-ids follow",
    top: "top follows",
    marked: "marked as deleted",
    messages: "messages",
    octets: "octets",
    removed: ["message removed", "messages removed", "messages removed"],
    unknown_command: "unknown command",
    too_long: "line too long",
    not_http: "this is POP3, not HTTP",
    name_needed: "USER needs a name",
    name_no_text: "that name is not printable text",
    no_argument: "this command takes no argument",
    number_needed: "a message number is needed",
    top_usage: "TOP needs a message number and a number of lines",
    apop_usage: "APOP needs a name and a digest of 32 digits",
    auth_usage: "AUTH needs a mechanism and perhaps an initial response",
    no_such_message: "no such message",
    no_such_language: "that language is not spoken here",
    tls_on: "TLS is on already",
    no_tls: "TLS is not offered here",
    needs_tls: "a password may not travel in plaintext: use STLS first",
    user_first: "USER comes first",
    login_first: "log in first",
    before_login: "that belongs before the login",
    no_apop: "APOP is not offered here",
    no_mechanism: "that mechanism is not offered",
    no_base64: "that is no base64",
    cancelled: "authentication cancelled",
    wrong: "name or password is wrong",
    unavailable: "the maildrop cannot be opened now",
    locked: "too many failed logins, try again later",
    disabled: "the account is disabled: ask the postmaster of this server",
    send_only: "this account only sends mail: it has no maildrop",
    too_many: "this account has too many sessions, try again later",
    too_soon: "seconds must pass between two logins",
    ended: "the account or its password has changed: log in again",
    expired: "the token has expired: log in with a new one",
    unreadable: "the message cannot be read now",
    damaged: "this message is damaged and cannot be read: ask the postmaster for a backup, or remove it with DELE",
    nothing_removed: "nothing was removed, try again later",
    crowded: "too many sessions from you, try again later",
    stopping: "stopping, try again soon",
};

const ROMANIAN: Words = Words {
    greeting: "POP3 Posta",
    bye: "la revedere",
    go_ahead: "poftiți",
    here: "prezent",
    password_please: "parola, vă rog",
    capabilities: "urmează capabilitățile",
    mechanisms: "urmează mecanismele",
    languages: "urmează limbile",
    utf8: "UTF-8 este binevenit",
    unique_ids: "urmează identificatorii unici",
    top: "urmează începutul mesajului",
    marked: "marcat pentru ștergere",
    messages: "mesaje",
    octets: "octeți",
    removed: ["mesaj șters", "mesaje șterse", "de mesaje șterse"],
    unknown_command: "comandă necunoscută",
    too_long: "linie prea lungă",
    not_http: "aici este POP3, nu HTTP",
    name_needed: "USER cere un nume",
    name_no_text: "acel nume nu este text tipăribil",
    no_argument: "această comandă nu are argument",
    number_needed: "lipsește numărul mesajului",
    top_usage: "TOP cere numărul mesajului și un număr de linii",
    apop_usage: "APOP cere un nume și un rezumat de 32 de cifre",
    auth_usage: "AUTH cere un mecanism și, eventual, un răspuns inițial",
    no_such_message: "nu există acest mesaj",
    no_such_language: "această limbă nu se vorbește aici",
    tls_on: "TLS este deja pornit",
    no_tls: "TLS nu se oferă aici",
    needs_tls: "parola nu poate călători necifrată: folosiți întâi STLS",
    user_first: "întâi USER",
    login_first: "întâi autentificarea",
    before_login: "aceasta se spune înainte de autentificare",
    no_apop: "APOP nu se oferă aici",
    no_mechanism: "acest mecanism nu se oferă",
    no_base64: "acesta nu este base64",
    cancelled: "autentificare abandonată",
    wrong: "numele sau parola este greșită",
    unavailable: "cutia poștală nu poate fi deschisă acum",
    locked: "prea multe autentificări greșite, încercați mai târziu",
    disabled: "contul este dezactivat: întrebați administratorul serverului",
    send_only: "acest cont doar trimite mesaje: nu are cutie poștală",
    too_many: "acest cont are prea multe sesiuni, încercați mai târziu",
    too_soon: "secunde trebuie să treacă între două autentificări",
    ended: "contul sau parola s-a schimbat: autentificați-vă din nou",
    expired: "jetonul a expirat: autentificați-vă cu unul nou",
    unreadable: "mesajul nu poate fi citit acum",
    damaged: "mesajul este deteriorat și nu poate fi citit: cereți-i administratorului o copie de rezervă sau ștergeți-l cu DELE",
    nothing_removed: "nu s-a șters nimic, încercați mai târziu",
    crowded: "prea multe sesiuni de la dumneavoastră, încercați mai târziu",
    stopping: "serverul se oprește, încercați curând",
};

impl Words {
    /// Tells how many messages were removed.
    pub(crate) fn removed(&self, messages: usize) -> String {
        let [one, few, many] = self.removed;
        // In Romanian, from twenty on, the number takes a preposition, unless it ends in 01 to 19.
        let words = match (messages, messages % 100) {
            (1, _) => one,
            (0, _) | (_, 1..=19) => few,
            _ => many,
        };
        format!("{messages} {words}")
    }
}

impl Language {
    /// The language of a tag, or of its first part; `*` for the server's own choice.
    pub(crate) fn find(tag: &str) -> Option<Self> {
        if tag == "*" {
            return Some(Self::default());
        }
        let primary = tag.split('-').next().unwrap_or_default();
        let mut known = LANGUAGES.iter();
        known.find(|(_, tag, _)| tag.eq_ignore_ascii_case(primary)).map(|(language, ..)| *language)
    }

    pub(crate) fn tag(self) -> &'static str {
        LANGUAGES.iter().find(|(language, ..)| *language == self).map_or("en", |(_, tag, _)| tag)
    }

    pub(crate) const fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::Romanian => &ROMANIAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_what_is_counted() {
        let said = |messages| [&ENGLISH, &ROMANIAN].map(|words| words.removed(messages));
        assert_eq!(said(0), ["0 messages removed", "0 mesaje șterse"]);
        assert_eq!(said(1), ["1 message removed", "1 mesaj șters"]);
        assert_eq!(said(19), ["19 messages removed", "19 mesaje șterse"]);
        assert_eq!(said(100), ["100 messages removed", "100 de mesaje șterse"]);
        assert_eq!(said(101), ["101 messages removed", "101 mesaje șterse"]);
    }
}
