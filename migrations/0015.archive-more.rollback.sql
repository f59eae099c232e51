-- Only while nothing but jobs is archived: the version before knows no other.

DO $$
BEGIN
    IF EXISTS (SELECT FROM archived_streams WHERE stream_type <> 'job') THEN
        RAISE EXCEPTION 'streams are archived that are no jobs: there is no way back';
    END IF;
END $$;
DROP FUNCTION replace_archived(uuid, uuid, bigint, bigint);
DROP INDEX archived_objects_reach;
DROP INDEX archived_objects_recorded;
ALTER TABLE archived_objects DROP COLUMN last_recorded_at;
ALTER TABLE archived_streams DROP COLUMN stream_type, DROP COLUMN ended_as;
