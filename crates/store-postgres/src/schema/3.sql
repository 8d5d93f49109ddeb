-- Format 3: objects. Large pieces of contents are in an object store, if there is one.

-- A piece has its octets, or the name and the SHA-256 of the object that has them.
ALTER TABLE piece
    ALTER octets DROP NOT NULL,
    ADD key text COLLATE "C",
    ADD sha256 bytea;
CREATE UNIQUE INDEX piece_key ON piece (key) WHERE key IS NOT NULL;

-- Objects that no piece names any more, and since when. They are removed a day later.
CREATE TABLE unused_object (
    key text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unused_object_since ON unused_object (since);

-- Whoever deletes a piece need not think of its object.
CREATE FUNCTION note_unused_objects() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO unused_object (key) SELECT key FROM gone WHERE key IS NOT NULL ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER note_unused_objects AFTER DELETE ON piece
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_unused_objects();

-- One row, once a node has an object store.
CREATE TABLE object_store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- What the names of all objects of this database begin with: `posta-ID/`.
    id text NOT NULL,
    -- The pass that compares the bucket with the tables: when it began, where it is, and what it missed so far.
    pass timestamptz,
    position text COLLATE "C",
    missing bigint NOT NULL DEFAULT 0
);

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
