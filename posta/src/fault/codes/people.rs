//! Accounts, their passwords and lists, aliases, domains and their keys, tokens.

use super::Code;

pub(super) const CODES: &[Code] = &[
    Code(
        "account-exists",
        "There is an account with that address.",
        "`posta account list` shows all; `posta account password` changes its password.",
    ),
    Code(
        "address-in-use",
        "Something else has taken the address since.",
        "Remove or rename that first.",
    ),
    Code(
        "alias-loop",
        "The alias would lead back to itself.",
        "Name a member outside of the loop; an account may be a member of an alias with its own name.",
    ),
    Code(
        "alias-too-large",
        "The alias leads to too many addresses.",
        "Use several aliases, or a mailing-list program.",
    ),
    Code(
        "app-password-refused",
        "The app password cannot be made or removed.",
        "The message tells why; `posta account app-password list` shows those there are.",
    ),
    Code(
        "arrangement-refused",
        "The note or the forward cannot be set like that.",
        "The message tells why.",
    ),
    Code("domain-in-use", "The domain has accounts or aliases.", "Remove those first."),
    Code("domain-is-alias", "The domain stands for another.", "Name the one that it stands for."),
    Code("forbidden", "The token does not allow this.", "`posta token list` shows what it allows."),
    Code(
        "foreign-password-refused",
        "A password in another program's form cannot be used.",
        "Set a new one: `posta account password`.",
    ),
    Code(
        "is-alias",
        "The address is an alias.",
        "Remove the alias first, or choose another address.",
    ),
    Code(
        "keys-wait",
        "The domain has new keys that are not published yet.",
        "`posta domain keys list` shows the records to publish.",
    ),
    Code(
        "no-keys",
        "The keys that sign a domain's mail could not be made or read.",
        "Look at the log; `posta domain keys rotate` makes new ones.",
    ),
    Code("no-local-domain", "The server has no domain yet.", "`posta domain add NAME` makes one."),
    Code("no-such-account", "There is no such account.", "`posta account list` shows all."),
    Code(
        "no-such-address",
        "An address of a local domain leads nowhere.",
        "Add an account or an alias of that name first.",
    ),
    Code("no-such-alias", "There is no such alias.", "`posta alias list` shows all."),
    Code(
        "no-such-domain",
        "That is no local domain.",
        "`posta domain list` shows all; `posta domain add` makes one local.",
    ),
    Code("no-such-key", "The domain has no such key.", "`posta domain keys list` shows all."),
    Code(
        "no-such-lockout",
        "Nobody of that name is locked out.",
        "`posta lockout list` shows who is.",
    ),
    Code(
        "no-such-member",
        "The alias has no such member.",
        "`posta alias list` shows its members.",
    ),
    Code(
        "no-such-permission",
        "The account had no such permission.",
        "`posta account list` shows what each may send as.",
    ),
    Code("no-such-token", "There is no such token.", "`posta token list` shows all."),
    Code(
        "not-owner",
        "The password is not that of the account.",
        "Only its owner, or the operator without a password, may change it.",
    ),
    Code(
        "password-needed",
        "A password is needed.",
        "Run the command on a terminal, or give it with --password-stdin.",
    ),
    Code("password-not-utf8", "The password is not UTF-8.", "Choose one of visible characters."),
    Code(
        "password-refused",
        "The password cannot be used.",
        "A password has 1 to 240 octets, and no line ends or NUL.",
    ),
    Code("password-unchanged", "The new password is the old one.", "Choose another."),
    Code("passwords-differ", "The two passwords differ.", "Type the same one twice."),
    Code(
        "quota-of-nothing",
        "A mailbox that may hold nothing refuses all mail.",
        "Give a size such as 1GiB, or none for no limit.",
    ),
    Code(
        "send-only",
        "The account may only send, so it cannot be a member of an alias.",
        "Name an account that has a mailbox.",
    ),
    Code("sender-refused", "The list of senders cannot have that.", "The message tells why."),
    Code(
        "token-ended",
        "The token's time is over.",
        "`posta token add` makes a new one; `--until` says how long it lasts.",
    ),
    Code(
        "token-exists",
        "There is a token with that name.",
        "Choose another name, or remove the token.",
    ),
    Code(
        "token-needed",
        "The request needs a token.",
        "`posta token add` makes one; send it as `Authorization: Bearer TOKEN`.",
    ),
    Code(
        "token-refused",
        "There is no such token.",
        "Look for a part that was lost in copying; `posta token add` makes another one.",
    ),
    Code(
        "too-many-senders",
        "The account may send as so many others already.",
        "Allow a whole domain instead.",
    ),
    Code("too-many-tokens", "There are as many tokens as there may be.", "Remove one first."),
];
