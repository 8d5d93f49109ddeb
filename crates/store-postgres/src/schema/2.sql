-- Format 2: nodes. What is claimed belongs to a node for as long as its heartbeat is on time.

CREATE TABLE node (
    -- Names a run of the node.
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    version text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The last heartbeat.
    beat timestamptz NOT NULL DEFAULT clock_timestamp(),
    sessions bigint NOT NULL,
    draining boolean NOT NULL,
    -- The milliseconds by which the node's clock is ahead of this one.
    ahead bigint
) WITH (fillfactor = 50);

-- What one node does at a time for all.
CREATE TABLE duty (
    name text COLLATE "C" PRIMARY KEY,
    node text COLLATE "C" NOT NULL
);

-- `lease` is a time by the clock of the holder, and ends the claim for the holder alone. `wake` is the time when the item
-- is due; while it is claimed, the last there is.
ALTER TABLE item ADD holder text COLLATE "C";
UPDATE item SET lease = NULL, token = NULL, wake = due WHERE lease IS NOT NULL;
DROP INDEX item_lease;
CREATE INDEX item_holder ON item (holder, lease) WHERE holder IS NOT NULL;
ALTER TABLE source ADD holder text COLLATE "C";
UPDATE source SET lease = NULL, token = NULL WHERE lease IS NOT NULL;

-- The history of the database that was seen last: its system identifier and its timeline.
ALTER TABLE meta ADD timeline text;
