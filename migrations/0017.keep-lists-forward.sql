-- depends: 0016.sample-fewer-rows
-- Newest first is how these are read, and an index is read either way. Kept newest first, each entry
-- went in before all others of its kind, and pages were split in halves that nobody filled: of each
-- entry 89 bytes instead of 50. It takes as long as these indexes take to build.

DO $$
DECLARE
    old record;
BEGIN
    FOR old IN
        SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
        FROM pg_index AS i
        WHERE i.indrelid = ANY (ARRAY[
                'jobs_waiting', 'jobs_ready', 'jobs_ended', 'audit_events'
            ]::regclass[])
            AND pg_get_indexdef(i.indexrelid) ~ '(job_id|position|"position") DESC\)'
    LOOP
        EXECUTE format('DROP INDEX %s', old.name);
        EXECUTE replace(old.definition, ' DESC)', ')');
    END LOOP;
END $$;
