-- Only while nothing is archived: nobody else knows where it is.

DO $$
BEGIN
    IF EXISTS (SELECT FROM archived_objects) THEN
        RAISE EXCEPTION 'streams are archived: there is no way back';
    END IF;
END $$;
DROP FUNCTION delete_archived(uuid);
DROP TRIGGER events_only_archived ON events;
DROP TRIGGER events_no_delete ON events;
DROP FUNCTION events_are_only_archived();
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_immutable();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_delete;
DROP TABLE archived_streams;
DROP TABLE archived_objects;
