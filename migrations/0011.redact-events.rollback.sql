-- What was redacted stays so; nobody can redact any more.

DROP FUNCTION redact_event(bigint, jsonb);
DROP TRIGGER events_only_redacted ON events;
DROP TRIGGER events_no_update ON events;
DROP TRIGGER events_no_delete ON events;
DROP FUNCTION events_are_only_redacted();
CREATE TRIGGER events_no_update_delete BEFORE UPDATE OR DELETE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_immutable();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_update_delete;
