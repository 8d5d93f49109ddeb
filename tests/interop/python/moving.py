"""A Dovecot host moves to Posta and back: python3 moving.py POSTA.

Dovecot's users, with passwords of its schemes, have mail in folders, with flags and keywords, put there by its own tools.
`posta import` takes users and mailboxes; each user logs in with the old password, and finds over POP3 what Dovecot had,
under the same unique-ids. `posta export` writes Maildirs, and Dovecot serves them as if the mail had never been away.
"""

import os
import poplib
import shutil
import subprocess
import sys
import tempfile

import peers
import serving

PASSWORD = "parola"
DOVECOT, POSTA = 2781, 2782
SCHEMES = ["SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "SSHA", "SSHA256", "SSHA512", "ARGON2ID", "PLAIN", "CRYPT"]

CONFIG = """
hostname = "mail.x.test"
data = "{data}"
[[listen]]
protocol = "pop3"
address = "127.0.0.1:{pop3}"
"""

MESSAGES = [
    "Subject: one\n\nThe first.\n",
    "Subject: dots\n\n.\n..\n.x\n",
    "Subject: from\n\nFrom here on\n>From there\n",
    "Subject: =?utf-8?q?ea=C8=99i?=\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nea\u0219i\n",
    "Subject: long\n\n" + "a line of a large message\n" * 40_000,
    "Subject: empty\n\n",
]


class Dovecot:
    def __init__(self, work):
        self.peer = peers.Peer(["dovecot-core", "dovecot-pop3d"])
        self.mail = os.path.join(work, "mail")
        os.makedirs(self.mail)
        os.chown(self.mail, 5000, 5000)
        self.peer.mount(self.mail, "/mail")
        self.peer.write(
            "/etc/dovecot/dovecot.conf",
            "protocols = pop3\nlog_path = /var/log/dovecot.log\nmail_location = maildir:/mail/%d/%n/Maildir\n"
            "first_valid_uid = 1000\nssl = no\ndisable_plaintext_auth = no\n"
            "userdb {\n driver = static\n args = uid=5000 gid=5000 home=/mail/home/%u\n}\n"
            "passdb {\n driver = passwd-file\n args = /etc/dovecot/users\n}\n"
            f"service pop3-login {{\n inet_listener pop3 {{\n  port = {DOVECOT}\n }}\n inet_listener pop3s {{\n  port = 0\n }}\n}}\n",
        )
        self.users = {f"{scheme.lower()}@x.test": scheme for scheme in SCHEMES}
        lines = []
        for user, scheme in self.users.items():
            hashed = self.peer.run("doveadm", "pw", "-s", scheme, "-p", PASSWORD).strip()
            lines.append(f"{user}:{hashed}:5000:5000::/mail/home/{user}::userdb_quota_rule=*:storage=1G\n")
        self.peer.write("/etc/dovecot/users", "".join(lines))
        self.start()

    def start(self):
        self.peer.start("dovecot", "-F")
        peers.wait_for(("127.0.0.1", DOVECOT))

    def stop(self):
        self.peer.end()

    def fill(self, user):
        for number, text in enumerate(MESSAGES):
            for folder in ("INBOX", "Sent", "Archive.2024", "F\u0103cut"):
                if folder == "INBOX" or number % 3 == 0:
                    self.run("mailbox", "create", "-u", user, folder, check=False)
                    self.run("save", "-u", user, "-m", folder, text=text)
        self.read(user)
        self.run("flags", "add", "-u", user, "\\Seen \\Answered", "mailbox", "INBOX", "SUBJECT", "dots")
        self.run("flags", "add", "-u", user, "\\Flagged $Work", "mailbox", "Sent", "all")
        # As after years: the UIDs have gaps.
        self.run("expunge", "-u", user, "mailbox", "INBOX", "SUBJECT", "one")
        self.run("save", "-u", user, "-m", "INBOX", text=MESSAGES[0])

    def read(self, user):
        """Moves messages from `new` to `cur`, as IMAP programs have Dovecot do: only there do names tell flags."""
        name, domain = user.split("@")
        for folder, names, _ in os.walk(os.path.join(self.mail, domain, name, "Maildir")):
            if "new" in names:
                for file in os.listdir(os.path.join(folder, "new")):
                    os.rename(os.path.join(folder, "new", file), os.path.join(folder, "cur", f"{file}:2,"))

    def run(self, *arguments, text="", check=True):
        try:
            return self.peer.run("doveadm", *arguments, text=text.encode())
        except RuntimeError:
            if check:
                raise
            return ""

    def flags(self, user):
        """What Dovecot tells of all messages: folder, flags, size."""
        fields = "mailbox flags size.virtual"
        told = self.run("-f", "tab", "fetch", "-u", user, fields, "all").splitlines()[1:]
        lines = [line.split("\t") for line in told if line]
        # \Recent is a matter of sessions.
        known = [(box, sorted(set(flags.lower().split()) - {"\\recent"}), size) for box, flags, size in lines]
        return sorted(known)


def maildrop(port, user):
    """What a POP3 client gets: unique-ids and messages, in their order."""
    client = poplib.POP3("127.0.0.1", port, timeout=60)
    client.user(user)
    client.pass_(PASSWORD)
    ids = [line.split()[1] for line in client.uidl()[1]]
    messages = [client.retr(number + 1)[1] for number in range(len(ids))]
    client.quit()
    return list(zip(ids, messages))


def expect(what, found, expected):
    if found != expected:
        raise RuntimeError(f"{what}: {str(found)[:2000]}\nexpected: {str(expected)[:2000]}")


def posta(program, config, *arguments):
    ran = subprocess.run(
        [program, *arguments, "--config", config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False
    )
    if ran.returncode != 0:
        raise RuntimeError(f"{arguments}: {ran.stdout.decode(errors='replace')[-2000:]}")
    return ran.stdout.decode()


def move(program, work):
    dovecot = Dovecot(work)
    for user in dovecot.users:
        dovecot.fill(user)
    before = {user: (maildrop(DOVECOT, user), dovecot.flags(user)) for user in dovecot.users}
    dovecot.stop()
    config = os.path.join(work, "posta.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(data=os.path.join(work, "data"), pop3=POSTA))
    # Something has to make the store.
    posta(program, config, "domain", "add", "x.test")
    said = posta(program, config, "import", "users", dovecot.peer.path("/etc/dovecot/users"))
    expect("the users", f"passwords: {len(dovecot.users)} added" in said, True)
    pattern = os.path.join(dovecot.mail, "%d/%n/Maildir")
    print(posta(program, config, "import", "maildir", "--map", pattern).splitlines()[-1])
    server = serving.Serving(program, config, POSTA)
    try:
        for user in dovecot.users:
            expect(f"{user}, in Posta", maildrop(POSTA, user), before[user][0])
        expect("a second import", " 0 messages came" in posta(program, config, "import", "maildir", "--map", pattern), True)
        out = os.path.join(work, "out")
        posta(program, config, "export", "maildir", out, "--all")
    finally:
        server.stop()
    shutil.rmtree(os.path.join(dovecot.mail, "x.test"))
    shutil.move(os.path.join(out, "x.test"), os.path.join(dovecot.mail, "x.test"))
    dovecot.peer.run("chown", "-R", "5000:5000", "/mail")
    dovecot.start()
    for user in dovecot.users:
        expect(f"{user}, back in Dovecot", maildrop(DOVECOT, user), before[user][0])
        expect(f"{user}'s flags, back in Dovecot", dovecot.flags(user), before[user][1])
    print(f"{len(dovecot.users)} users of Dovecot moved to Posta and back")


def main():
    if not peers.possible():
        print("SKIPPED moving.py: other servers need roots of their own, which this machine does not allow")
        return 77
    work = tempfile.mkdtemp(prefix="moving-", dir=os.path.join(peers.ROOT, "target"))
    try:
        move(os.path.abspath(sys.argv[1]), work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
