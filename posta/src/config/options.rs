//! Every option of the configuration, defined once: its name, type, default, range and documentation.
//!
//! The parser, what is said of mistakes, `posta config show` and docs/configuration.md follow from here; a new option
//! needs nothing but its definition, and the place that uses it. `definition.rs` says what a definition may hold,
//! `words.rs` defines the words that are values of options.
//! The first line of a documentation is the option's help; defaults and examples are TOML.

options! {
    /// One file in TOML.
    Config in "" {
        /// The server's name for itself.
        ///
        /// It stands in the greeting, in EHLO and in the trace fields of each message, and a self-signed certificate
        /// names it. Other servers look it up, so it should be a name in DNS that leads to this server.
        hostname: Option<Domain> {
            unset: "the system's name",
            example: "\"mail.example.org\"",
            needs_restart: true,
        }
        /// The directory of the store and the control socket.
        ///
        /// A self-signed certificate stands there too. It is for the server's user alone: others must not be able to
        /// enter it.
        data: PathBuf { default: Some("\"posta-data\""), example: "\"/var/lib/posta\"", needs_restart: true }
        /// The user that a server started by root becomes.
        ///
        /// Root only opens the ports, and then gives up its rights for good. Under systemd the unit names the user.
        user: Option<String> {
            unset: "the owner of the data directory",
            example: "\"posta\"",
            needs_restart: true,
        }
        /// The file with the keys of sealed passwords.
        ///
        /// Passwords that must be readable again, for mailboxes elsewhere and for APOP, and the private keys that sign
        /// mail are sealed in the store. The file is made with the first of them, and is for the server's user alone.
        key_file: Option<PathBuf> {
            unset: "`store.keys` in the data directory",
            example: "\"/etc/posta-keys/store.keys\"",
            needs_restart: true,
        }
        /// The directory into which `posta sendmail` puts messages.
        ///
        /// Every user of the machine may put messages there, and the server takes them; `posta sendmail` needs to find
        /// it, so every user must be able to read this file. operations.md says which mode it has and why.
        spool: Option<PathBuf> {
            unset: "`/var/spool/posta` if `data` is `/var/lib/posta`, otherwise none",
            example: "\"/var/spool/posta\"",
            needs_restart: true,
        }
        /// The characters that separate a user from a tag.
        ///
        /// `ana+shopping@example.org` is ana@example.org, unless somebody has the whole address. Several characters are
        /// looked for in their order: with `"+-"`, `mary-ann+x` is mary-ann, and `mary-x` is mary. `""` is for none.
        tag_separators: TagSeparators { default: Some("\"+\""), example: "\"+-\"", needs_restart: true }
        /// Where mail is kept.
        store: Storage { needs_restart: true }
        /// Certificates.
        tls: Tls {}
        /// Certificates from an authority.
        acme: Acme { needs_restart: true }
        /// Limits of sessions and messages.
        limits: Limits {}
        /// Mail from other servers.
        smtp: Smtp {}
        /// The checks of who sent mail from other servers.
        checks: Checks {}
        /// Judging strangers before their mail is taken.
        door: Door {}
        /// Mail from mail programs.
        submission: Submission {}
        /// Filters outside.
        filters: Vec<Filter> { default: Some("[]"), each: "for each filter" }
        /// Mailboxes.
        pop3: Pop3 {}
        /// Load balancers.
        proxy: Proxy {}
        /// Name servers.
        dns: Dns { needs_restart: true }
        /// Mail for other servers.
        relay: Relay {}
        /// The signatures of outgoing mail.
        dkim: Dkim {}
        /// Our own policy for TLS.
        mta_sts: MtaSts {}
        /// Logins with tokens.
        oauth: Option<OAuth> { unset: "no login with tokens", needs_restart: true }
        /// The log.
        log: Log {}
        /// The server's figures, for Prometheus.
        metrics: Metrics {}
        /// The sockets that are listened on.
        listen: Vec<Listen> {
            default: Some("[{ protocol = \"smtp\", address = \"127.0.0.1:2525\", tls = \"starttls\" }, \
                { protocol = \"submission\", address = \"127.0.0.1:2587\", tls = \"starttls\" }, \
                { protocol = \"pop3\", address = \"127.0.0.1:2110\", tls = \"starttls\" }]"),
            each: "for each socket",
            needs_restart: true,
        }
    }

    /// Where mail is kept.
    Storage in "store" with check {
        /// The kind of store.
        engine: StoreEngine { default: Some("\"embedded\"") }
        /// The URL of the database, for PostgreSQL (cluster.md).
        url: Option<String> { unset: "none", example: "\"postgresql://posta@db1,db2/posta?sslmode=require\"" }
        /// A file with the password of the database's user.
        password_file: Option<PathBuf> { unset: "no password", example: "\"/etc/posta/database\"" }
        /// Connections of this server to the database.
        connections: usize { default: Some("16"), of: "connections", least: "4" }
        /// An object store for large messages, for PostgreSQL.
        objects: Option<ObjectStore> { unset: "large messages are in the database too" }
    }

    /// An object store (S3) for large messages, beside PostgreSQL.
    ///
    /// The parts of messages above 64 KiB go there; cluster.md explains it. All servers of a database use the same. The
    /// parts of messages that came before stay where they are.
    ObjectStore in "store.objects" {
        /// The address of the store, without the bucket.
        ///
        /// It begins with `https://`. `http://` is for a network that nobody listens to: the messages are readable in it.
        endpoint: ObjectEndpoint { example: "\"https://s3.eu-central-1.amazonaws.com\"" }
        /// The bucket, which must exist.
        bucket: String { example: "\"example-mail\"" }
        /// The region, which is part of the signature of each request.
        ///
        /// Stores of one's own rarely have another than the default.
        region: String { default: Some("\"us-east-1\""), example: "\"eu-central-1\"" }
        /// The id of the key, which may put, get, delete and list objects of the bucket.
        key_id: String { example: "\"AKIAIOSFODNN7EXAMPLE\"" }
        /// A file with the secret of the key.
        secret_file: PathBuf { example: "\"/etc/posta/object-key\"" }
    }

    /// The server's certificates, and the authorities that it believes.
    ///
    /// Without a certificate a self-signed one is made in the data directory. Certificates that change on disk are read
    /// again within ten seconds.
    Tls in "tls" {
        /// The certificate, and those that lead to its issuer (PEM).
        certificate: Option<PathBuf> {
            partner: "key",
            unset: "a self-signed certificate",
            example: "\"/etc/posta/cert.pem\"",
        }
        /// The key of the certificate (PEM, without a passphrase).
        key: Option<PathBuf> {
            partner: "certificate",
            unset: "the key of the self-signed certificate",
            example: "\"/etc/posta/key.pem\"",
        }
        /// Further certificates, for clients that ask for other names.
        also: Vec<Certificate> { default: Some("[]"), each: "for each further certificate" }
        /// Files with more authorities to believe (PEM).
        ///
        /// They are believed beside the authorities that browsers believe, such as for servers of a private network.
        authorities: Vec<PathBuf> {
            default: Some("[]"),
            example: "[\"/etc/posta/authority.pem\"]",
            needs_restart: true,
        }
        /// Whether SCRAM-SHA-256-PLUS is offered.
        ///
        /// It ties a login to its TLS connection. It is accepted even if it is not offered; mutt and neomutt of Debian 12
        /// cannot log in where it is offered.
        channel_binding: bool { default: Some("false"), needs_restart: true }
    }

    /// A further certificate, for clients that ask for another name.
    Certificate in "tls.also" {
        /// The certificate, and those that lead to its issuer (PEM).
        certificate: PathBuf { example: "\"/etc/posta/other.cert.pem\"" }
        /// The key of the certificate (PEM, without a passphrase).
        key: PathBuf { example: "\"/etc/posta/other.key.pem\"" }
    }

    /// Certificates from an authority by ACME (RFC 8555), such as Let's Encrypt.
    ///
    /// The server gets one for its own name, and for mta-sts, autoconfig and autodiscover below each local domain where
    /// these names lead to it. It renews them in time, with the same keys. A name that a certificate of `[tls]` is for
    /// gets none. The authority connects to port 80 or 443 of the name, so there must be a listener for http or https;
    /// one of a private network is to be listed in `tls.authorities`.
    Acme in "acme" {
        /// Whether certificates are obtained; `true` accepts the terms of the authority.
        enabled: bool { default: Some("false") }
        /// The e-mail address that the authority may write to.
        contact: Option<EmailAddress> { unset: "none", example: "\"postmaster@example.org\"" }
        /// The address of the authority's directory.
        directory: HttpsAddress { default: Some("\"https://acme-v02.api.letsencrypt.org/directory\"") }
    }

    /// Limits of sessions, clients and messages.
    Limits in "limits" {
        /// The largest content of a message.
        ///
        /// It is announced to clients (RFC 1870), and a larger message is refused with 552. For what is collected from
        /// mailboxes elsewhere a change holds from the next start on.
        message_size: Octets {
            default: Some("\"50MiB\""),
            least: "\"1B\"",
            too_little: "0 would refuse all mail: leave it out for 50MiB, or name a size",
        }
        /// Sessions of all clients together at once.
        sessions: u32 { default: Some("20000"), of: "sessions", zero: "no limit" }
        /// Sessions at once from one IPv4 address or IPv6 /64.
        sessions_per_client: u32 { default: Some("50"), of: "sessions", zero: "no limit" }
        /// POP3 sessions at once for one account.
        ///
        /// Servers that share a store count together.
        sessions_per_account: u32 { default: Some("20"), of: "sessions", zero: "no limit" }
        /// Failed logins from one network in 15 minutes.
        ///
        /// A network that has more is locked out for as long; `posta lockout` lists and lifts lock-outs. Servers that
        /// share a store count together.
        failed_logins: u32 { default: Some("20"), of: "failed logins", zero: "no limit" }
        /// Recipients in one mail transaction; then 452.
        recipients: usize {
            default: Some("1000"),
            of: "recipients",
            least: "100",
            too_little: "other servers count on at least 100 (RFC 5321 §4.5.3.1.8)",
        }
        /// The longest SMTP or POP3 session.
        ///
        /// A message that is being transferred then may end.
        session_time: Span { default: Some("\"1d\""), least: "\"1s\"" }
        /// Recipients to whom one account may send in an hour; then 450.
        ///
        /// Servers that share a store count together.
        submissions: u32 { default: Some("1000"), of: "recipients an hour", zero: "no limit" }
        /// The longest time for which a sender may have a message held.
        ///
        /// Mail programs ask for that by FUTURERELEASE (RFC 4865).
        hold: Span { default: Some("\"30d\"") }
        /// Memory for arriving messages, of all sessions together.
        ///
        /// What does not fit waits on disk.
        memory: Octets { default: Some("\"64MiB\""), least: "\"1B\"", needs_restart: true }
    }

    /// Mail from other servers.
    Smtp in "smtp" {
        /// The treatment of a bare CR or LF from another server.
        bare_newlines: BareNewlines { default: Some("\"refuse\"") }
    }

    /// The checks of who sent mail from other servers; docs/trust.md explains them.
    ///
    /// What strangers bring to a listener for smtp is checked by SPF, DKIM, DMARC and ARC while it arrives. Mail of who
    /// logged in, of programs on this machine that are trusted and of `relay.networks` is not.
    Checks in "checks" {
        /// Whether mail is checked.
        enabled: bool { default: Some("true") }
        /// The action for mail that fails the checks.
        policy: CheckPolicy { default: Some("\"obey\"") }
        /// The servers that are believed about mail that they changed and passed on.
        ///
        /// Mailing lists change mail, so that it no longer is as its author sent it; some seal what they found before
        /// (ARC). The names are the domains of their seals.
        trusted_sealers: Vec<Domain> { default: Some("[]"), example: "[\"lists.example.org\"]" }
        /// Whether domains that ask for DMARC reports get them.
        ///
        /// A report tells the owner of a domain once a day which servers sent mail in its name to this one, and what
        /// became of it; it tells nothing about single messages or recipients.
        dmarc_reports: bool { default: Some("true") }
    }

    /// Judging strangers before their mail is taken.
    ///
    /// Strangers are clients of a listener for smtp that are neither trusted programs on this machine nor in
    /// `relay.networks`. trust.md says what they are told, and what to do when good mail is refused.
    Door in "door" {
        /// The DNS lists whose clients are refused.
        ///
        /// The reply names the list and quotes it. Postmaster and abuse are reached all the same.
        block_lists: Vec<DnsList> { default: Some("[]"), example: "[\"zen.spamhaus.org\"]" }
        /// The DNS lists whose clients pass, whatever a block list says.
        allow_lists: Vec<DnsList> { default: Some("[]"), example: "[\"list.dnswl.org\"]" }
        /// The recipients an hour from one /24 or IPv6 /64; then 450.
        network_recipients: u32 { default: Some("0"), of: "recipients an hour", zero: "no limit" }
        /// The recipients an hour from one sender in such a network; then 450.
        sender_recipients: u32 { default: Some("0"), of: "recipients an hour", zero: "no limit" }
        /// The delay of the greeting.
        ///
        /// Mail servers wait for the greeting; a client that speaks before it is refused with 554. A second or two are
        /// enough to tell them apart, but each connection of a stranger takes longer by as much.
        greeting_delay: Span { default: Some("\"0s\""), example: "\"2s\"" }
        /// Whether mail from unknown senders is put off once (greylisting).
        ///
        /// Mail servers try again after a minute or more, most programs that send spam do not. The first message of a
        /// good sender is late, too.
        greylisting: bool { default: Some("false") }
        /// Whether a client is refused whose HELO name is not a full host name, or is ours.
        strict_hello: bool { default: Some("false") }
        /// The name in DNS that a client needs; otherwise 550.
        reverse_dns: ReverseDns { default: Some("\"any\"") }
    }

    /// Mail from mail programs.
    Submission in "submission" {
        /// How far programs on this machine are trusted without login.
        ///
        /// `true`: they submit mail for here and, from addresses of the domains here, for other servers. `false`: they
        /// log in.
        trust_loopback: LoopbackTrust { default: Some("true") }
    }

    /// A filter outside: a program that is asked about each message.
    ///
    /// Filters are asked in the order of their tables. docs/trust.md says what becomes of a message by their answers.
    Filter in "filters" {
        /// The protocol of the filter.
        kind: FilterKind { example: "\"rspamd\"" }
        /// The address of the filter: `"host:port"`, or `"unix:/path"`.
        address: FilterAddress { example: "\"127.0.0.1:11333\"" }
        /// The mail about which the filter is asked.
        mail: FilteredMail { default: Some("\"incoming\"") }
        /// The longest time for one message.
        time_limit: Span { default: Some("\"30s\""), least: "\"1s\"" }
        /// The treatment of a message if the filter fails.
        on_failure: OnFailure { default: Some("\"tempfail\"") }
    }

    /// Mail programs that collect mail by POP3.
    Pop3 in "pop3" {
        /// The longest wait for a command.
        autologout: Span {
            default: Some("\"10m\""),
            least: "\"10m\"",
            too_little: "mail programs count on at least 10 minutes (RFC 1939 §3), \"10m\"",
        }
        /// Days after which a retrieved message is removed.
        expire: Option<u32> { unset: "for ever", example: "30", of: "days" }
        /// Whether APOP is offered.
        ///
        /// Accounts that were added with `--apop` can use it.
        apop: bool { default: Some("false") }
    }

    /// Load balancers and other servers in front of this one.
    Proxy in "proxy" {
        /// Networks whose connections begin with a PROXY header.
        ///
        /// Versions 1 and 2 of the header are read.
        networks: Vec<ProxyNetwork> { default: Some("[]"), example: "[\"192.168.1.5\"]" }
        /// Networks whose SMTP clients may speak for others, by XCLIENT.
        xclient: Vec<ProxyNetwork> { default: Some("[]"), example: "[\"192.168.1.5\"]" }
    }

    /// The server's figures (docs/metrics.md).
    Metrics in "metrics" {
        /// Networks whose clients read `/metrics` over HTTPS without a token.
        ///
        /// Everybody else needs one. A web server in front that hands requests on from this machine makes all of its
        /// clients look like 127.0.0.1.
        networks: Vec<MetricsNetwork> { default: Some("[]"), example: "[\"127.0.0.1\", \"192.168.1.7\"]" }
    }

    /// Looking up names.
    Dns in "dns" with check {
        /// The name servers that are asked.
        ///
        /// If there are none, the system's resolvers are asked and /etc/hosts is read. If there are, they are asked for
        /// all names, those of collected mailboxes and of the OAuth server too.
        servers: Vec<NameServer> { default: Some("[]"), unset: "the system's resolvers", example: "[\"127.0.0.1\"]" }
        /// Whether DNSSEC is always validated, or never.
        dnssec: Option<bool> { unset: "validated if the name servers hand DNSSEC on", example: "true" }
        /// A file of DNSKEY records in place of the root's keys.
        trust_anchor: Option<PathBuf> { unset: "the root's keys", example: "\"/etc/posta/anchor\"" }
    }

    /// Sending mail to other servers.
    Relay in "relay" with check {
        /// How long to wait after each attempt; the last repeats.
        retry: Retry {
            default: Some("[\"1m\", \"5m\", \"15m\", \"30m\", \"1h\", \"2h\", \"4h\"]"),
            example: "[\"1m\", \"5m\", \"15m\", \"1h\"]",
            least: "[\"1s\"]",
            too_little: "0 would try without a pause: leave it out, or name a time to wait, such as \"1m\"",
        }
        /// The time after which a message fails and its sender gets a report.
        give_up: Span { default: Some("\"5d\""), least: "\"1s\"" }
        /// The time after which a sender gets a report of the delay.
        delay_notice: Span { default: Some("\"4h\"") }
        /// The server to which all mail for other servers goes.
        smarthost: Option<HostPort> {
            unset: "each domain's own servers",
            example: "\"smtp.example.net:587\"",
        }
        /// The user name for the login at the smarthost.
        ///
        /// The login is by SCRAM, PLAIN or LOGIN, and always in TLS.
        user: Option<String> { unset: "no login", example: "\"ana\"", partner: "password-file" }
        /// A file with the password for the smarthost, and nothing else.
        password_file: Option<PathBuf> { unset: "no login", example: "\"/etc/posta/smarthost\"", partner: "user" }
        /// The protection of connections to it.
        tls: Option<Protection> {
            unset: "`implicit` on port 465, `starttls` with a user, else `opportunistic`",
            example: "\"starttls\"",
        }
        /// Networks that may send to other servers without a login.
        networks: Vec<SenderNetwork> { default: Some("[]"), example: "[\"192.168.1.0/24\"]" }
        /// The longest wait for another server.
        timeout: Span { default: Some("\"10m\""), least: "\"1s\"" }
        /// Connections to one server at most; fewer while it refuses.
        ///
        /// Servers that share a store divide them.
        connections: usize {
            default: Some("20"),
            of: "connections",
            least: "1",
            too_little: "at least 1",
        }
        /// Messages a minute to one destination at most.
        ///
        /// Servers that share a store take turns.
        rate: Option<u32> {
            unset: "any number",
            example: "600",
            of: "messages a minute",
            least: "1",
            too_little: "at least 1; to send nothing, use `posta queue hold`",
        }
        /// The local addresses of connections, one of each family.
        source: Vec<IpAddr> {
            default: Some("[]"),
            unset: "the system's choice",
            example: "[\"192.0.2.1\", \"2001:db8::1\"]",
            needs_restart: true,
        }
        /// Whether mail goes to addresses that are not public.
        ///
        /// A closed network needs `"allow"` where its DNS names mail servers at addresses that are not public.
        /// Smarthosts may be anywhere.
        private_addresses: PrivateAddresses { default: Some("\"refuse\""), needs_restart: true }
        /// Exceptions for single domains.
        domain: Vec<Destination> { default: Some("[]"), each: "for each domain that is treated differently" }
    }

    /// Exceptions for a domain.
    ///
    /// Options that are left out here are as in `[relay]`.
    Destination in "relay.domain" with check and check_list {
        /// The domain; with a dot in front, all domains below it.
        name: DomainPattern { example: "\"example.org\"" }
        /// How long to wait after each attempt; the last repeats.
        retry: Option<Retry> {
            unset: "as in `[relay]`",
            example: "[\"1m\", \"5m\", \"15m\", \"1h\"]",
            least: "[\"1s\"]",
            too_little: "0 would try without a pause: leave it out, or name a time to wait, such as \"1m\"",
        }
        /// The time after which a message fails and its sender gets a report.
        give_up: Option<Span> { unset: "as in `[relay]`", example: "\"5d\"" }
        /// The time after which a sender gets a report of the delay.
        delay_notice: Option<Span> { unset: "as in `[relay]`", example: "\"4h\"" }
        /// The server to which the domain's mail goes.
        ///
        /// `"mx"` stands for the domain's own servers, in place of a smarthost for all.
        smarthost: Option<DomainRoute> { unset: "as in `[relay]`", example: "\"smtp.example.net:587\"" }
        /// The user name for the login at this smarthost.
        user: Option<String> { unset: "no login", example: "\"ana\"", partner: "password-file" }
        /// A file with the password for this smarthost.
        password_file: Option<PathBuf> { unset: "no login", example: "\"/etc/posta/smarthost\"", partner: "user" }
        /// The protection of connections to it.
        tls: Option<Protection> {
            unset: "`implicit` on port 465, `starttls` with a user, else `opportunistic`",
            example: "\"starttls\"",
        }
        /// Messages a minute to this destination at most.
        rate: Option<u32> { unset: "as in `[relay]`", example: "600", of: "messages a minute" }
    }

    /// The signatures of outgoing mail (DKIM).
    ///
    /// Each local domain has its own keys for Ed25519 and RSA, which `posta domain keys` lists. A key signs once the
    /// server has found its record in DNS.
    Dkim in "dkim" {
        /// Whether users' mail and the server's reports are signed.
        ///
        /// `false` is for mail that another server signs, such as a smarthost.
        sign: bool { default: Some("true") }
        /// The age at which new keys are made; `"0s"` for never.
        ///
        /// The present keys sign until DNS has the records of the new ones, so that nothing breaks if no one publishes
        /// them.
        rotate: Span { default: Some("\"180d\"") }
    }

    /// The policy for TLS that a listener for https publishes (RFC 8461).
    MtaSts in "mta-sts" with check {
        /// What other servers should do if they cannot use TLS.
        mode: Mode { default: Some("\"enforce\"") }
        /// The servers that receive our mail.
        mx: Vec<PolicyHost> { default: Some("[]"), unset: "`hostname`", example: "[\"mail.example.org\"]" }
        /// The time for which other servers remember the policy.
        max_age: Span { default: Some("\"7d\"") }
    }

    /// Logins with tokens of an identity server.
    ///
    /// The identity server is asked about each token (RFC 7662). At least one of `audience` and `allowed-clients` must
    /// say for which service or mail programs the tokens have to be.
    OAuth in "oauth" with check {
        /// The address at which the identity server is asked about a token.
        ///
        /// It begins with `https://`; `http://` only on this machine.
        introspection: TokenEndpoint { example: "\"https://auth.example.net/introspect\"" }
        /// Our client identifier at the identity server.
        client: Option<String> { unset: "no name", example: "\"posta\"", partner: "secret-file" }
        /// A file with the secret of our client identifier.
        secret_file: Option<PathBuf> { unset: "no secret", example: "\"/etc/posta/oauth-secret\"", partner: "client" }
        /// The service that a token must be for, as in its `aud`.
        audience: Option<String> { unset: "any", example: "\"https://mail.example.org\"" }
        /// The mail programs whose tokens are accepted, by their `client_id`.
        allowed_clients: Vec<String> { default: Some("[]"), unset: "any", example: "[\"thunderbird\"]" }
        /// The words that the `scope` of a token must have.
        scope: Option<String> { unset: "nothing", example: "\"mail\"" }
        /// The member of the answer that has the account's whole address.
        ///
        /// If it is `email`, `email_verified` must not be false.
        claim: String { default: Some("\"email\"") }
    }

    /// The log, whose events logs.md describes.
    Log in "log" {
        /// The level of the log.
        level: Level { default: Some("\"info\"") }
        /// The form of its lines.
        format: LogFormat { default: Some("\"text\"") }
    }

    /// A socket that is listened on.
    ///
    /// There is one such table for each socket. Without any, the three that are shown here apply.
    Listen in "listen" with check and check_list {
        /// The service.
        protocol: Protocol { example: "\"smtp\"" }
        /// The address and the port.
        ///
        /// `"0.0.0.0:25"` is all of IPv4, `"[::]:25"` all of IPv4 and IPv6; for lmtp also `"unix:/path"`.
        address: Endpoint { example: "\"0.0.0.0:25\"" }
        /// How TLS is offered.
        tls: TlsMode { default: Some("\"none\"") }
    }
}

/// Options that there were: an old configuration still starts, and is told what holds instead.
pub(crate) const REMOVED: &[super::definition::Removed] = &[
    ("limits", "commands", "an SMTP session may have 100,000 commands"),
    ("limits", "bad-commands", "an SMTP session ends after 20 commands that make no sense"),
    ("limits", "command-time", "an SMTP command may take 5 minutes to come"),
    ("limits", "minimum-rate", "a sender that is slower than 128 octets a second is cut off"),
    ("smtp", "verify", "VRFY and EXPN tell nobody who exists"),
    ("pop3", "login-delay", "an account may log in again at once"),
];
