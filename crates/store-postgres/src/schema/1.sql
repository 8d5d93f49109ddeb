-- Format 1. Times are nanoseconds since 1970, ids of messages their 12 octets, which sort by age. Numbers of 64 bits
-- without a sign (quotas, conversations) are kept with the same bits.

CREATE TABLE meta (
    format integer NOT NULL,
    -- A text sealed with the cluster's key, which tells whether a node has the right one.
    key_check bytea
);
INSERT INTO meta (format) VALUES (1);

-- The directory. A removed account stays, with the time at which it is purged.
CREATE SEQUENCE account_id;
CREATE TABLE account (
    id bigint PRIMARY KEY,
    address text COLLATE "C" NOT NULL,
    local_part text COLLATE "C" NOT NULL,
    domain text COLLATE "C" NOT NULL,
    password_hash text NOT NULL,
    scram text,
    quota bigint,
    send_as text[] NOT NULL DEFAULT '{}',
    forwards boolean NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    marks_junk boolean NOT NULL DEFAULT false,
    send_only boolean NOT NULL DEFAULT false,
    removed bigint,
    purge bigint
);
CREATE UNIQUE INDEX account_address ON account (address) WHERE removed IS NULL;
CREATE INDEX account_local_part ON account (local_part) WHERE removed IS NULL;
CREATE INDEX account_domain ON account (domain, id) WHERE removed IS NULL;
CREATE INDEX account_purge ON account (purge) WHERE removed IS NOT NULL;

CREATE TABLE domain (
    name text COLLATE "C" PRIMARY KEY,
    -- Whether the domain was added separately, and stays local without accounts.
    added boolean NOT NULL,
    -- The domain that this one is an alias of.
    stands_for text COLLATE "C"
);
CREATE INDEX domain_stands_for ON domain (stands_for) WHERE stands_for IS NOT NULL;

CREATE TABLE alias (
    name text COLLATE "C" PRIMARY KEY,
    domain text COLLATE "C" NOT NULL,
    targets text[] NOT NULL
);
CREATE INDEX alias_domain ON alias (domain);

-- What the folders of an account share. Whoever changes a mailbox locks this row first, in the order of accounts.
CREATE TABLE ledger (
    account bigint PRIMARY KEY,
    removed boolean NOT NULL DEFAULT false,
    -- The mod-sequence of the last change.
    modseq bigint NOT NULL DEFAULT 0,
    next_folder integer NOT NULL DEFAULT 2,
    -- The greatest UIDVALIDITY given to an added folder.
    uid_validity bigint NOT NULL DEFAULT 0,
    -- The mod-sequence before which vanished names are no longer remembered.
    horizon bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE folder (
    account bigint NOT NULL,
    id integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    role text,
    uid_validity bigint NOT NULL,
    uid_next bigint NOT NULL DEFAULT 1,
    modseq bigint NOT NULL DEFAULT 0,
    -- The mod-sequence of the last change of the list other than an arrival.
    altered bigint NOT NULL DEFAULT 0,
    messages bigint NOT NULL DEFAULT 0,
    octets bigint NOT NULL DEFAULT 0,
    unseen bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account, id)
) WITH (fillfactor = 50);

-- A message in a folder. One that was removed stays, with `removed`, until it is purged.
CREATE TABLE entry (
    account bigint NOT NULL,
    folder integer NOT NULL,
    uid bigint NOT NULL,
    content bytea NOT NULL,
    thread bigint NOT NULL,
    octets bigint NOT NULL,
    added bigint NOT NULL,
    head integer NOT NULL,
    time bigint NOT NULL,
    flags integer NOT NULL,
    -- Separated by spaces.
    keywords text NOT NULL,
    created bigint NOT NULL,
    modseq bigint NOT NULL,
    number bigint NOT NULL,
    imported text COLLATE "C",
    shared boolean NOT NULL,
    prefix bytea NOT NULL,
    -- When POP3 read the message first.
    retrieved bigint,
    removed bigint,
    purge bigint,
    -- The mod-sequence of the removal.
    gone bigint,
    PRIMARY KEY (account, folder, uid)
);
CREATE INDEX entry_changed ON entry (account, modseq) WHERE removed IS NULL;
CREATE INDEX entry_gone ON entry (account, gone) WHERE removed IS NOT NULL;
CREATE INDEX entry_purge ON entry (purge) WHERE removed IS NOT NULL;
CREATE INDEX entry_retrieved ON entry (retrieved) WHERE retrieved IS NOT NULL AND removed IS NULL;

-- Names that messages had before they were moved or brought back.
CREATE TABLE moved (
    account bigint NOT NULL,
    folder integer NOT NULL,
    uid bigint NOT NULL,
    modseq bigint NOT NULL,
    purge bigint NOT NULL,
    to_folder integer NOT NULL,
    to_uid bigint NOT NULL,
    PRIMARY KEY (account, folder, uid)
);
CREATE INDEX moved_modseq ON moved (account, modseq);
CREATE INDEX moved_purge ON moved (purge);

-- Contents: head and content in one, or in pieces where there are several chunks.
CREATE TABLE content (
    id bytea PRIMARY KEY,
    -- The number of entries and items that refer to the content.
    refs integer NOT NULL,
    octets bytea
);
ALTER TABLE content ALTER octets SET STORAGE EXTERNAL;
CREATE TABLE piece (
    content bytea NOT NULL,
    -- -1 for the head.
    index integer NOT NULL,
    octets bytea NOT NULL,
    PRIMARY KEY (content, index)
);
ALTER TABLE piece ALTER octets SET STORAGE EXTERNAL;
-- Contents that are still on their way.
CREATE TABLE arriving (
    content bytea PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);

-- The queue. `wake` is the end of the lease, or else the time when the item is due.
CREATE SEQUENCE token;
CREATE TABLE item (
    content bytea NOT NULL,
    index integer NOT NULL,
    record text NOT NULL,
    destination text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    due bigint NOT NULL,
    -- 0 waiting, 1 held, 2 in quarantine.
    state integer NOT NULL,
    wake bigint NOT NULL,
    lease bigint,
    token bigint,
    PRIMARY KEY (content, index)
) WITH (fillfactor = 80);
CREATE INDEX item_lane ON item (destination, wake) WHERE state = 0;
CREATE INDEX item_turn ON item (destination, priority DESC, due, content, index) WHERE state = 0;
CREATE INDEX item_lease ON item (lease) WHERE lease IS NOT NULL;
CREATE TABLE pause (
    destination text COLLATE "C" PRIMARY KEY,
    until bigint NOT NULL
);

CREATE TABLE event (
    id bytea NOT NULL,
    seq bigserial,
    record text NOT NULL,
    PRIMARY KEY (id, seq)
);

CREATE TABLE record (
    kind text COLLATE "C" NOT NULL,
    name bytea NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE TABLE secret (
    kind integer NOT NULL,
    id bigint NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE SEQUENCE source_id;
CREATE TABLE source (
    id bigint PRIMARY KEY,
    account bigint NOT NULL,
    record text NOT NULL,
    -- The result of the last visit.
    last text,
    -- The time of the next visit; none for at once.
    due bigint,
    lease bigint,
    token bigint
);
CREATE INDEX source_due ON source (due NULLS FIRST, id);
CREATE INDEX source_account ON source (account);
CREATE TABLE collected (
    source bigint NOT NULL,
    unique_id bytea NOT NULL,
    time bigint NOT NULL,
    PRIMARY KEY (source, unique_id)
);

-- Each transaction whose answer may be lost writes a key of its own, by which a second attempt finds the first.
CREATE TABLE outcome (
    key bytea PRIMARY KEY,
    time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outcome_time ON outcome (time);
