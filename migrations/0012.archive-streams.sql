-- depends: 0011.redact-events
-- Streams that have ended may leave the log for the object store; where each is, and nothing else.

-- What lies in the store: gzip, a line of JSON for each event.
CREATE TABLE archived_objects (
    object_id      uuid        PRIMARY KEY,
    object_key     text        NOT NULL,
    sha256         bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    streams        integer     NOT NULL,
    events         integer     NOT NULL,
    first_position bigint      NOT NULL,
    last_position  bigint      NOT NULL,
    archived_at    timestamptz NOT NULL DEFAULT now()
);

-- A stream's lines are in one gzip member of its object, from byte block_start to block_end.
CREATE TABLE archived_streams (
    stream_id      uuid    PRIMARY KEY,
    object_id      uuid    NOT NULL,
    events         integer NOT NULL,
    first_position bigint  NOT NULL,
    last_position  bigint  NOT NULL,
    block_start    bigint  NOT NULL,
    block_end      bigint  NOT NULL
);
CREATE INDEX archived_streams_object ON archived_streams (object_id);

DROP TRIGGER events_no_delete ON events;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    FOR EACH STATEMENT WHEN (current_setting('reactorcide.archiving', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION events_are_immutable();

-- Whoever gets past the trigger above: an event goes only when it is recorded where it went.
DO $$
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION events_are_only_archived() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
            IF EXISTS (
                SELECT FROM %1$I.archived_streams AS s WHERE s.stream_id = OLD.stream_id
                    AND OLD.position BETWEEN s.first_position AND s.last_position
            ) THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION 'events are immutable: DELETE refused'
                USING ERRCODE = 'restrict_violation';
        END $body$
    $definition$, current_schema());
END $$;
CREATE TRIGGER events_only_archived BEFORE DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_are_only_archived();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_delete;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_only_archived;

-- The one way: delete the events of an object's streams, in the transaction that has recorded
-- `streams.archived`. Until that ends nobody appends; a stream that went on meanwhile refuses it all.
DO $$
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION delete_archived(archived uuid) RETURNS integer
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$I, pg_temp AS $body$
        DECLARE
            expected integer;
            deleted integer;
        BEGIN
            SELECT o.events INTO expected FROM %1$I.archived_objects AS o
            JOIN %1$I.events AS e ON e.stream_id = o.object_id
                AND e.type = 'streams.archived' AND e.recorded_at = now()
            WHERE o.object_id = archived;
            PERFORM set_config('reactorcide.archiving', 'on', true);
            DELETE FROM %1$I.events AS e USING %1$I.archived_streams AS s
            WHERE s.object_id = archived AND e.stream_id = s.stream_id
                AND e.position BETWEEN s.first_position AND s.last_position;
            GET DIAGNOSTICS deleted = ROW_COUNT;
            PERFORM set_config('reactorcide.archiving', '', true);
            LOCK TABLE %1$I.events IN SHARE MODE;
            IF deleted IS DISTINCT FROM expected OR EXISTS (
                SELECT FROM %1$I.archived_streams AS s JOIN %1$I.events AS e USING (stream_id)
                WHERE s.object_id = archived
            ) THEN
                RAISE EXCEPTION 'the streams are not as they were archived'
                    USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN deleted;
        END $body$
    $definition$, current_schema());
    -- For whoever migrates, not for programs that serve others.
    REVOKE ALL ON FUNCTION delete_archived(uuid) FROM PUBLIC;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT SELECT ON archived_objects, archived_streams TO reactorcide_app;
    END IF;
END $$;
