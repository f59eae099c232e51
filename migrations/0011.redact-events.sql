-- depends: 0010.seal-the-log
-- What an event tells can be erased, never changed, and only together with the fact that says so.

DROP TRIGGER events_no_update_delete ON events;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_immutable();
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
    FOR EACH STATEMENT WHEN (current_setting('reactorcide.redacting', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION events_are_immutable();

-- Whoever gets past the trigger above: an update only takes away from the data of an event, and
-- the same transaction has recorded that. A text may leave a mark, for which see REDACTED and
-- DISTINCT in eventstore/domain.
DO $$
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION events_are_only_redacted() RETURNS trigger LANGUAGE plpgsql AS $body$
        DECLARE
            before record := OLD;
        BEGIN
            before.data := NEW.data;
            IF NEW IS NOT DISTINCT FROM before AND jsonb_typeof(NEW.data) = 'object'
                AND EXISTS (
                    SELECT FROM %1$I.events AS e
                    WHERE e.stream_id = OLD.event_id AND e.version = 1
                        AND e.type = 'event.redacted' AND e.recorded_at = now()
                        AND (e.data ->> 'position')::bigint = OLD.position
                ) AND NOT EXISTS (
                    SELECT FROM jsonb_each(NEW.data) AS remaining
                    LEFT JOIN jsonb_each(OLD.data) AS told USING (key)
                    WHERE remaining.value IS DISTINCT FROM told.value AND (
                        jsonb_typeof(told.value) IS DISTINCT FROM 'string'
                        OR remaining.value #>> '{}'
                            NOT IN ('[redacted]', '[redacted] ' || OLD.stream_id)
                    )
                )
            THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'events are immutable: UPDATE refused'
                USING ERRCODE = 'restrict_violation';
        END $body$
    $definition$, current_schema());
END $$;
CREATE TRIGGER events_only_redacted BEFORE UPDATE ON events
    FOR EACH ROW EXECUTE FUNCTION events_are_only_redacted();

ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_delete;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_update;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_only_redacted;

-- The one way: with the owner's rights, whoever calls it. Says whether there was a sealed event.
DO $$
BEGIN
    EXECUTE format($definition$
        CREATE FUNCTION redact_event(redacted bigint, remains jsonb) RETURNS boolean
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$I, pg_temp AS $body$
        DECLARE
            place bigint;
            nth integer;
        BEGIN
            SELECT t.tile, array_position(t.positions, redacted) INTO place, nth
            FROM %1$I.sealed_tiles AS t WHERE t.first_position <= redacted
            ORDER BY t.first_position DESC LIMIT 1 FOR UPDATE;
            IF nth IS NULL THEN
                RETURN false;
            END IF;
            -- Without its salt the hash of the data is no way to guess what they were.
            UPDATE %1$I.sealed_tiles SET salts =
                overlay(salts PLACING decode(repeat('00', 16), 'hex') FROM 16 * nth - 15 FOR 16)
            WHERE tile = place;
            PERFORM set_config('reactorcide.redacting', 'on', true);
            UPDATE %1$I.events SET data = remains WHERE position = redacted;
            PERFORM set_config('reactorcide.redacting', '', true);
            RETURN true;
        END $body$
    $definition$, current_schema());
    REVOKE ALL ON FUNCTION redact_event(bigint, jsonb) FROM PUBLIC;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT EXECUTE ON FUNCTION redact_event(bigint, jsonb) TO reactorcide_app;
    END IF;
END $$;
