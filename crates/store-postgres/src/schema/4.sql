-- Format 4: counts that nodes share; what became of a group of messages.

-- For each message of a group, what `accept` returned for it; none where all were accepted.
ALTER TABLE outcome ADD refused integer[];

-- It takes more now, and is made again.
DO $$
DECLARE
    old regprocedure;
BEGIN
    FOR old IN SELECT oid FROM pg_proc WHERE proname = 'accept' AND pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE 'DROP FUNCTION ' || old;
    END LOOP;
END $$;

-- Each node has rows of its own. Nothing in this table outlives a crash of the database: the nodes tell it again.

CREATE UNLOGGED TABLE tally (
    kind text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    -- The run of the node that counts.
    node text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    -- The time until which the count is valid; none for as long as the node lives.
    until bigint,
    -- Greater with each change of the node.
    stamp bigint NOT NULL,
    PRIMARY KEY (kind, key, node)
);
CREATE INDEX tally_stamp ON tally (node, stamp);
CREATE INDEX tally_until ON tally (until) WHERE until IS NOT NULL;
