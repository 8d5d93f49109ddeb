//! The words that are values of options, each with its meaning.
//!
//! `enum` makes a type of the words; `like` gives its notation in the file to a type that is defined elsewhere; `flag`
//! does so for one that may be written `true` or `false` too.

words! {
    enum Protocol {
        Smtp = "smtp": "mail from other servers, port 25",
        Submission = "submission": "mail from mail programs, ports 587 and 465",
        Lmtp = "lmtp": "mail from a server in front",
        Pop3 = "pop3": "mail programs that collect, ports 110 and 995",
        Https = "https": "the MTA-STS policy, settings for mail programs, the HTTP interface; port 443",
        Http = "http": "the checks of the ACME authority, port 80; all else is sent to https",
    }
    enum StoreEngine {
        Embedded = "embedded": "a store of its own, in the data directory",
        Postgres = "postgres": "PostgreSQL 15 or newer, which several servers may use",
    }
    enum TlsMode {
        None = "none": "no TLS",
        Starttls = "starttls": "TLS when the client asks for it",
        Implicit = "implicit": "TLS from the start, as on ports 465 and 995",
    }
    enum Protection {
        None = "none": "no TLS",
        Opportunistic = "opportunistic": "TLS if it is offered, with any certificate",
        Starttls = "starttls": "TLS by STARTTLS, and a certificate that is checked",
        Implicit = "implicit": "TLS from the start, as on port 465, and a certificate that is checked",
    }
    enum CheckPolicy {
        Obey = "obey": "what the owner of the author's domain wants (DMARC): it is refused, or goes to the folder for junk",
        Mark = "mark": "it is taken, and only its header section tells",
    }
    enum BareNewlines {
        Refuse = "refuse": "the message is refused",
        Normalise = "normalise": "each of them becomes CRLF",
    }
    enum LogFormat {
        Text = "text": "a line of words for people",
        Json = "json": "an object of JSON for programs, one a line",
    }
    like ReverseDns {
        Any = "any": "none is needed",
        Named = "named": "any name (PTR)",
        Confirmed = "confirmed": "a name that leads back to the address",
    }
    like PrivateAddresses {
        Refuse = "refuse": "mail is sent to public addresses only",
        Allow = "allow": "mail is sent to any address that DNS names",
    }
    like FilterKind {
        Rspamd = "rspamd": "rspamd's protocol over HTTP, usually on port 11333",
        Milter = "milter": "the milter protocol of sendmail and Postfix",
    }
    like FilteredMail {
        Incoming = "incoming": "mail from other servers",
        Submitted = "submitted": "mail from users and from neighbours that may relay",
        All = "all": "all mail that comes by SMTP and LMTP",
    }
    like OnFailure {
        Accept = "accept": "it goes on as if the filter had nothing against it",
        Tempfail = "tempfail": "it is refused for now, and its sender tries again",
    }
    like Mode {
        Enforce = "enforce": "others send in TLS or not at all",
        Testing = "testing": "others send, and report what failed",
        None = "none": "there is no policy any more",
    }
    like Level {
        Error = "error": "what keeps the server from its work",
        Warn = "warn": "also what somebody has to look after",
        Info = "info": "also each message and each login",
        Debug = "debug": "also what explains the rest",
    }
    flag LoopbackTrust {
        Local = "local": "programs on this machine submit mail for here only",
    }
}
