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
            AND NOT i.indisunique
            AND i.indexrelid::regclass::text !~ '(_reached|_cause)$'
            AND i.indexrelid::regclass::text ~ '(_by_user|_amiss|^audit_events_.*)$'
            AND pg_get_indexdef(i.indexrelid) ~ '(job_id|position|"position")\)'
    LOOP
        EXECUTE format('DROP INDEX %s', old.name);
        EXECUTE regexp_replace(old.definition, '(job_id|position|"position")\)', '\1 DESC)');
    END LOOP;
END $$;
