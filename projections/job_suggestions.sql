-- The SQL of job_suggestions.py. Each statement follows a line `-- name: NAME  what it is for`.
-- What was asked for is read where it is: in the job's first event.

-- name: claimable  the next jobs of some queues: best priority first, then oldest
-- (many jobs ask for the same but for the args, which come apart)
SELECT
    j.job_id, j.version,
    CASE WHEN j.attempt > 0 THEN
        ROW(j.attempt, j.failures, j.lost_leases, j.available_at, j.exit_code, j.last_error)
    END AS tried,
    e.position, e.schema_version, (e.data - 'args')::text AS data, (e.data -> 'args')::text AS args
FROM (
    SELECT found.* FROM (
        SELECT r.* FROM unnest($1::text[]) AS queue (name)
        CROSS JOIN LATERAL (
            SELECT * FROM jobs_ready
            WHERE queue_name = queue.name AND available_at IS NULL AND labels <@ $2::jsonb
                AND ($4::int = 1 OR (uuid_hash_extended(job_id, $6::bigint) & 65535) % $4 = $5::int)
            ORDER BY priority DESC, job_id LIMIT $3
        ) AS r
        UNION ALL (
            SELECT * FROM jobs_ready
            WHERE available_at <= now() AND queue_name = ANY ($1::text[]) AND labels <@ $2::jsonb
            ORDER BY available_at, job_id LIMIT $3
        )
    ) AS found
    ORDER BY priority DESC, job_id LIMIT $3
) AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
ORDER BY j.priority DESC, j.job_id

-- name: claimable_after  the same, of what comes after job $8 of priority $7: nothing is read twice
SELECT
    j.job_id, j.version,
    CASE WHEN j.attempt > 0 THEN
        ROW(j.attempt, j.failures, j.lost_leases, j.available_at, j.exit_code, j.last_error)
    END AS tried,
    e.position, e.schema_version, (e.data - 'args')::text AS data, (e.data -> 'args')::text AS args
FROM (
    SELECT found.* FROM (
        SELECT r.* FROM unnest($1::text[]) AS queue (name)
        CROSS JOIN LATERAL (
            SELECT * FROM jobs_ready
            WHERE queue_name = queue.name AND priority = $7::int AND job_id > $8::uuid
                AND available_at IS NULL AND labels <@ $2::jsonb
                AND ($4::int = 1 OR (uuid_hash_extended(job_id, $6::bigint) & 65535) % $4 = $5::int)
            ORDER BY priority DESC, job_id LIMIT $3
        ) AS r
        UNION ALL
        SELECT r.* FROM unnest($1::text[]) AS queue (name)
        CROSS JOIN LATERAL (
            SELECT * FROM jobs_ready
            WHERE queue_name = queue.name AND priority < $7::int
                AND available_at IS NULL AND labels <@ $2::jsonb
                AND ($4::int = 1 OR (uuid_hash_extended(job_id, $6::bigint) & 65535) % $4 = $5::int)
            ORDER BY priority DESC, job_id LIMIT $3
        ) AS r
    ) AS found
    ORDER BY priority DESC, job_id LIMIT $3
) AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
ORDER BY j.priority DESC, j.job_id

-- name: claimable_aged  of lower priority than $5, what waits since before id $4 and time $6
WITH RECURSIVE classes (queue_name, priority) AS ( -- from the lowest up, an index probe for each
    SELECT queue.name, (
        SELECT min(priority) FROM jobs_ready
        WHERE queue_name = queue.name AND priority < $5::int AND available_at IS NULL
    ) FROM unnest($1::text[]) AS queue (name)
    UNION ALL
    SELECT c.queue_name, (
        SELECT min(r.priority) FROM jobs_ready AS r
        WHERE r.queue_name = c.queue_name AND r.priority > c.priority AND r.priority < $5::int
            AND r.available_at IS NULL
    ) FROM classes AS c WHERE c.priority IS NOT NULL
)
SELECT
    j.job_id, j.version,
    CASE WHEN j.attempt > 0 THEN
        ROW(j.attempt, j.failures, j.lost_leases, j.available_at, j.exit_code, j.last_error)
    END AS tried,
    e.position, e.schema_version, (e.data - 'args')::text AS data, (e.data -> 'args')::text AS args
FROM (
    SELECT found.* FROM (
        SELECT r.* FROM classes AS c
        CROSS JOIN LATERAL (
            SELECT * FROM jobs_ready
            WHERE queue_name = c.queue_name AND priority = c.priority AND job_id < $4::uuid
                AND available_at IS NULL AND labels <@ $2::jsonb
                AND ($7::int = 1 OR (uuid_hash_extended(job_id, $9::bigint) & 65535) % $7 = $8::int)
            ORDER BY job_id LIMIT $3
        ) AS r
        UNION ALL (
            SELECT * FROM jobs_ready
            WHERE available_at <= $6::timestamptz AND queue_name = ANY ($1::text[])
                AND priority < $5::int AND labels <@ $2::jsonb
                AND ($7::int = 1 OR (uuid_hash_extended(job_id, $9::bigint) & 65535) % $7 = $8::int)
            ORDER BY available_at, job_id LIMIT $3
        )
    ) AS found
    ORDER BY job_id LIMIT $3
) AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
ORDER BY j.job_id
