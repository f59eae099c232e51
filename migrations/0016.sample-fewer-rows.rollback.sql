DO $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT format(
            'ALTER TABLE %I %s', c.relname,
            string_agg(format('ALTER COLUMN %I SET STATISTICS -1', a.attname), ', ')
        )
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.oid = ANY (ARRAY[
                'events', 'jobs_waiting', 'jobs_ready', 'jobs_held', 'jobs_ended'
            ]::regclass[])
            AND a.attnum > 0 AND NOT a.attisdropped
        GROUP BY c.relname
    LOOP
        EXECUTE part;
    END LOOP;
END $$;
