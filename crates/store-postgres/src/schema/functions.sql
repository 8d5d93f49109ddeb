-- The two functions of the store, which save round trips where these count: a group of messages is accepted by one
-- call. They are made again with every format.

-- Puts messages into folders; the caller has locked the ledgers. The proposed mod-sequences ascend in the order of the
-- arrays, and move up together where the account is ahead of the node. Returns the greatest one used.
CREATE OR REPLACE FUNCTION deliver(
    p_account bigint[], p_folder integer[], p_content bytea[], p_thread bigint[], p_octets bigint[], p_added bigint[],
    p_head integer[], p_time bigint[], p_flags integer[], p_keywords text[], p_imported text[], p_shared boolean[],
    p_prefix bytea[], p_modseq bigint[]
) RETURNS bigint LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    highest bigint;
BEGIN
    WITH d AS (
        -- Where the folder is gone, the message goes to the inbox.
        SELECT d.*, coalesce(f.id, 0) AS target
        FROM unnest(p_account, p_folder, p_content, p_thread, p_octets, p_added, p_head, p_time, p_flags, p_keywords,
                    p_imported, p_shared, p_prefix, p_modseq) WITH ORDINALITY
            AS d (account, folder, content, thread, octets, added, head, time, flags, keywords, imported, shared,
                  prefix, modseq, place)
        LEFT JOIN folder f ON f.account = d.account AND f.id = d.folder
    ), l AS (
        UPDATE ledger l
        SET modseq = greatest(l.modseq + 1, g.first) + g.last - g.first
        FROM (SELECT account, min(modseq) AS first, max(modseq) AS last FROM d GROUP BY account) g
        WHERE l.account = g.account
        RETURNING l.account, l.modseq - g.last AS shift
    ), f AS (
        UPDATE folder f
        SET uid_next = f.uid_next + g.messages, modseq = g.modseq, messages = f.messages + g.messages,
            octets = f.octets + g.octets, unseen = f.unseen + g.unseen
        FROM (
            SELECT d.account, d.target, count(*) AS messages, sum(d.octets) AS octets,
                   count(*) FILTER (WHERE d.flags & 2 = 0) AS unseen, max(d.modseq + l.shift) AS modseq
            FROM d JOIN l ON l.account = d.account
            GROUP BY d.account, d.target
        ) g
        WHERE f.account = g.account AND f.id = g.target
        RETURNING f.account, f.id, f.uid_next - g.messages AS first
    ), e AS (
        INSERT INTO entry (account, folder, uid, content, thread, octets, added, head, time, flags, keywords, created,
                           modseq, number, imported, shared, prefix)
        SELECT d.account, d.target,
               f.first + row_number() OVER (PARTITION BY d.account, d.target ORDER BY d.place) - 1,
               d.content, d.thread, d.octets, d.added, d.head, d.time, d.flags, d.keywords, d.modseq + l.shift,
               d.modseq + l.shift, d.modseq + l.shift, d.imported, d.shared, d.prefix
        FROM d
        JOIN l ON l.account = d.account
        JOIN f ON f.account = d.account AND f.id = d.target
        RETURNING modseq
    )
    SELECT max(modseq) INTO highest FROM e;
    RETURN coalesce(highest, 0);
END $$;

-- Accepts a group of messages, each with the reports that it causes: all of a message and its reports, or nothing.
-- Messages are numbered from 1 by their places in the arrays; `m_root` is the number of the message that a report is
-- about. Returns for each such message 0 if it is accepted, was accepted before, or was collected before; 1 if an
-- account is missing; 2 if a chunk is missing that was stored before. `p_patience` is the time for which a mailbox is
-- waited for that another transaction changes. `p_key` names the group where its answer may be lost: sent again, it returns
-- what the first call returned, whatever has become of the messages since.
CREATE OR REPLACE FUNCTION accept(
    m_root integer[], m_id bytea[], m_octets bytea[], m_refs integer[], m_source bigint[], m_unique bytea[],
    m_time bigint[], m_chunks integer[],
    c_msg integer[], c_index integer[], c_octets bytea[], c_key text[], c_sha256 bytea[],
    d_msg integer[], d_account bigint[], d_folder integer[], d_thread bigint[], d_octets bigint[], d_added bigint[],
    d_head integer[], d_time bigint[], d_flags integer[], d_keywords text[], d_imported text[], d_shared boolean[],
    d_prefix bytea[], d_modseq bigint[],
    i_msg integer[], i_index integer[], i_record text[], i_destination text[], i_priority integer[], i_due bigint[],
    i_state integer[],
    e_msg integer[], e_id bytea[], e_record text[],
    r_msg integer[], r_kind text[], r_name bytea[], r_record bytea[],
    p_patience text, p_key bytea
) RETURNS TABLE (number integer, outcome integer, highest bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    missing integer[];
    incomplete integer[];
    known integer[];
    fresh integer[];
    top bigint;
BEGIN
    PERFORM set_config('lock_timeout', p_patience, true);
    IF p_key IS NOT NULL THEN
        -- Where the first call is still under way, this waits for its end.
        INSERT INTO outcome (key) VALUES (p_key) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN QUERY
                SELECT DISTINCT m.root, coalesce(o.refused[m.root], 0), 0::bigint
                FROM unnest(m_root) AS m (root), outcome o
                WHERE o.key = p_key;
            RETURN;
        END IF;
    END IF;
    PERFORM 1 FROM ledger l WHERE l.account = ANY (d_account) ORDER BY l.account FOR NO KEY UPDATE;
    SELECT coalesce(array_agg(m_root[d.msg]), '{}') INTO missing
    FROM unnest(d_msg, d_account) AS d (msg, account)
    WHERE NOT EXISTS (SELECT FROM ledger l WHERE l.account = d.account AND NOT l.removed);

    -- Chunks are stored before, in transactions that a crash of the database may undo.
    SELECT coalesce(array_agg(m.root), '{}') INTO incomplete
    FROM unnest(m_root, m_id, m_chunks) AS m (root, id, chunks)
    WHERE m.chunks > 0
        AND m.chunks > (SELECT count(*) FROM piece p WHERE p.content = m.id AND p.index BETWEEN 0 AND m.chunks - 1)
        AND NOT EXISTS (SELECT FROM content c WHERE c.id = m.id);
    missing := missing || incomplete;

    -- Of two that bring the same collected message, the second waits here for the first.
    WITH c AS (
        INSERT INTO collected (source, unique_id, time)
        SELECT m.source, m.unique_id, m.time
        FROM unnest(m_root, m_source, m_unique, m_time) AS m (root, source, unique_id, time)
        WHERE m.source IS NOT NULL AND m.root <> ALL (missing)
        ORDER BY m.source, m.unique_id
        ON CONFLICT DO NOTHING
        RETURNING source, unique_id
    )
    SELECT coalesce(array_agg(m.root), '{}') INTO known
    FROM unnest(m_root, m_source, m_unique) AS m (root, source, unique_id)
    WHERE m.source IS NOT NULL AND m.root <> ALL (missing)
        AND NOT EXISTS (SELECT FROM c WHERE c.source = m.source AND c.unique_id = m.unique_id);
    IF known <> '{}' THEN
        DELETE FROM piece p
        WHERE p.content IN (SELECT m_id[k.root] FROM unnest(known) AS k (root))
            AND NOT EXISTS (SELECT FROM content c WHERE c.id = p.content);
    END IF;

    -- What is there already was accepted by an earlier attempt whose answer was lost.
    WITH c AS (
        INSERT INTO content (id, refs, octets)
        SELECT m.id, m.refs, m.octets
        FROM unnest(m_root, m_id, m_refs, m_octets) AS m (root, id, refs, octets)
        WHERE m.root <> ALL (missing) AND m.root <> ALL (known)
        ORDER BY m.id
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    SELECT coalesce(array_agg(m.root), '{}') INTO fresh
    FROM unnest(m_root, m_id) AS m (root, id) JOIN c ON c.id = m.id;

    SELECT deliver(
        array_agg(d.account ORDER BY place), array_agg(d.folder ORDER BY place),
        array_agg(m_id[d.msg] ORDER BY place), array_agg(d.thread ORDER BY place),
        array_agg(d.octets ORDER BY place), array_agg(d.added ORDER BY place), array_agg(d.head ORDER BY place),
        array_agg(d.time ORDER BY place), array_agg(d.flags ORDER BY place), array_agg(d.keywords ORDER BY place),
        array_agg(d.imported ORDER BY place), array_agg(d.shared ORDER BY place),
        array_agg(d.prefix ORDER BY place), array_agg(d.modseq ORDER BY place)
    ) INTO top
    FROM unnest(d_msg, d_account, d_folder, d_thread, d_octets, d_added, d_head, d_time, d_flags, d_keywords,
                d_imported, d_shared, d_prefix, d_modseq) WITH ORDINALITY
        AS d (msg, account, folder, thread, octets, added, head, time, flags, keywords, imported, shared, prefix,
              modseq, place)
    WHERE m_root[d.msg] = ANY (fresh)
    HAVING count(*) > 0;

    IF c_msg <> '{}' THEN
        INSERT INTO piece (content, index, octets, key, sha256)
        SELECT m_id[c.msg], c.index, c.octets, c.key, c.sha256
        FROM unnest(c_msg, c_index, c_octets, c_key, c_sha256) AS c (msg, index, octets, key, sha256)
        WHERE m_root[c.msg] = ANY (fresh);
        DELETE FROM arriving
        WHERE content IN (SELECT m_id[c.msg] FROM unnest(c_msg) AS c (msg) WHERE m_root[c.msg] <> ALL (missing));
    END IF;
    IF i_msg <> '{}' THEN
        INSERT INTO item (content, index, record, destination, priority, due, state, wake)
        SELECT m_id[i.msg], i.index, i.record, i.destination, i.priority, i.due, i.state, i.due
        FROM unnest(i_msg, i_index, i_record, i_destination, i_priority, i_due, i_state)
            AS i (msg, index, record, destination, priority, due, state)
        WHERE m_root[i.msg] = ANY (fresh);
    END IF;
    IF e_msg <> '{}' THEN
        INSERT INTO event (id, record)
        SELECT e.id, e.record
        FROM unnest(e_msg, e_id, e_record) WITH ORDINALITY AS e (msg, id, record, place)
        WHERE m_root[e.msg] = ANY (fresh)
        ORDER BY e.place;
    END IF;
    IF r_msg <> '{}' THEN
        INSERT INTO record (kind, name, record)
        SELECT DISTINCT ON (r.kind, r.name) r.kind, r.name, r.record
        FROM unnest(r_msg, r_kind, r_name, r_record) WITH ORDINALITY AS r (msg, kind, name, record, place)
        WHERE m_root[r.msg] = ANY (fresh)
        ORDER BY r.kind, r.name, r.place DESC
        ON CONFLICT (kind, name) DO UPDATE SET record = excluded.record;
    END IF;
    IF p_key IS NOT NULL AND missing <> '{}' THEN
        UPDATE outcome o
        SET refused = (
            SELECT array_agg(
                CASE WHEN m.root = ANY (incomplete) THEN 2 WHEN m.root = ANY (missing) THEN 1 ELSE 0 END ORDER BY m.place
            )
            FROM unnest(m_root) WITH ORDINALITY AS m (root, place)
        )
        WHERE o.key = p_key;
    END IF;
    RETURN QUERY
        SELECT DISTINCT m.root,
            CASE WHEN m.root = ANY (incomplete) THEN 2 WHEN m.root = ANY (missing) THEN 1 ELSE 0 END,
            coalesce(top, 0)
        FROM unnest(m_root) AS m (root);
END $$;
