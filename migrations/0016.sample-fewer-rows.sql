-- depends: 0015.archive-more
-- What grows by thousands of rows a second is looked at again and again by autovacuum's ANALYZE: it
-- took each column of 30,000 rows apart, half a second at a time, for the log and the ended jobs.

DO $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT format(
            'ALTER TABLE %I %s', c.relname,
            string_agg(format('ALTER COLUMN %I SET STATISTICS %s', a.attname, t.target), ', ')
        )
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        CROSS JOIN LATERAL (SELECT CASE
            -- No plan hangs on a histogram of the log: 6,000 rows say as much.
            WHEN c.relname = 'events' THEN 20
            -- Jobs are looked for by these; by the others they are only filtered.
            WHEN a.attname NOT IN (
                'job_id', 'user_id', 'status', 'queue_name', 'priority', 'available_at',
                'unique_key', 'created_at'
            ) THEN 0
        END AS target) AS t
        WHERE c.oid = ANY (ARRAY[
                'events', 'jobs_waiting', 'jobs_ready', 'jobs_held', 'jobs_ended'
            ]::regclass[])
            AND t.target IS NOT NULL
        GROUP BY c.relname
    LOOP
        EXECUTE part;
    END LOOP;
END $$;
