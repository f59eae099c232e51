-- depends: 0015.archive-more
-- What grows by thousands of rows a second is looked at again and again by autovacuum's ANALYZE: of
-- 30,000 rows it took every column apart, 0.5 s at a time, for the log and the ended jobs. No plan
-- here hangs on a histogram: 6,000 rows say as much.

DO $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT format(
            'ALTER TABLE %I %s', c.relname,
            string_agg(format('ALTER COLUMN %I SET STATISTICS 20', a.attname), ', ')
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
