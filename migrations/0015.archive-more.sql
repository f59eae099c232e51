-- depends: 0014.record-rebuilds
-- Streams of every kind that ends may leave the log, and what is archived can be redacted.

-- What a stream is, and how a job ended: one that waits for it asks after that. NULL: it is no job,
-- or was archived before anybody noted it.
ALTER TABLE archived_streams
    ADD COLUMN stream_type text NOT NULL DEFAULT 'job',
    ADD COLUMN ended_as    text;

-- Nothing that an object holds was recorded later: what is asked of a later time misses nothing.
ALTER TABLE archived_objects ADD COLUMN last_recorded_at timestamptz NOT NULL DEFAULT now();
UPDATE archived_objects SET last_recorded_at = archived_at;
CREATE INDEX archived_objects_recorded ON archived_objects (last_recorded_at DESC);
CREATE INDEX archived_objects_reach ON archived_objects (last_position, first_position);

-- Another object takes the place of one, in the transaction that records `event.redacted` of an
-- event in it, which names both. Returns the key of the one that is no use any more.
DO $$
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION replace_archived(
            replaced uuid, redacted uuid, changed bigint, growth bigint
        ) RETURNS text
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$I, pg_temp AS $body$
        DECLARE
            fact jsonb;
            old_key text;
        BEGIN
            SELECT e.data INTO fact FROM %1$I.events AS e
            WHERE e.stream_id = redacted AND e.version = 1 AND e.type = 'event.redacted'
                AND e.recorded_at = now() AND e.data ->> 'object_id' = replaced::text;
            SELECT o.object_key INTO old_key FROM %1$I.archived_objects AS o
            WHERE o.object_id = replaced FOR UPDATE;
            IF fact IS NULL OR old_key IS NULL OR old_key = fact ->> 'object_key' THEN
                RAISE EXCEPTION 'no event of this transaction says so'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            UPDATE %1$I.archived_objects SET
                object_key = fact ->> 'object_key', sha256 = decode(fact ->> 'sha256', 'hex')
            WHERE object_id = replaced;
            -- The member at byte "changed" is longer or shorter, and what is behind it is moved.
            UPDATE %1$I.archived_streams SET
                block_start = block_start + CASE WHEN block_start > changed THEN growth ELSE 0 END,
                block_end = block_end + growth
            WHERE object_id = replaced AND block_start >= changed;
            RETURN old_key;
        END $body$
    $definition$, current_schema());
    REVOKE ALL ON FUNCTION replace_archived(uuid, uuid, bigint, bigint) FROM PUBLIC;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT EXECUTE ON FUNCTION replace_archived(uuid, uuid, bigint, bigint) TO reactorcide_app;
    END IF;
END $$;
