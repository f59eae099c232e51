-- The SQL of due_jobs.py; see jobs.sql.

-- name: due  waiting jobs whose time has come and whose dependencies all completed
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs_waiting AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
WHERE (j.available_at IS NULL OR j.available_at <= now())
    AND NOT EXISTS (
        SELECT FROM jsonb_array_elements_text(e.data -> 'depends_on') AS dependency (id)
        WHERE NOT EXISTS (
            SELECT FROM jobs AS d WHERE d.job_id = dependency.id::uuid
                AND (d.status = 'completed' OR d.status = 'deleted' AND EXISTS (
                    SELECT FROM events AS c
                    WHERE c.stream_id = d.job_id AND c.type = 'job.completed'
                ))
        ) AND NOT EXISTS ( -- archived after somebody saw it complete, and before this one came
            SELECT FROM archived_streams AS a
            WHERE a.stream_id = dependency.id::uuid AND a.ended_as = 'completed'
        )
    )
ORDER BY j.available_at NULLS FIRST, j.job_id LIMIT $1

-- name: blocked  waiting jobs with a dependency that ended otherwise, and the first such
SELECT DISTINCT ON (j.job_id)
    j.*, e.position, e.type, e.schema_version, e.data::text AS data,
    d.job_id AS dependency, d.status AS dependency_status
FROM jobs_waiting AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
CROSS JOIN LATERAL jsonb_array_elements_text(e.data -> 'depends_on') AS dependency (id)
CROSS JOIN LATERAL (
    SELECT d.job_id, d.status FROM jobs AS d WHERE d.job_id = dependency.id::uuid
        AND (d.status IN ('failed', 'cancelled', 'timeout') OR d.status = 'deleted' AND NOT EXISTS (
            SELECT FROM events AS c WHERE c.stream_id = d.job_id AND c.type = 'job.completed'
        ))
    UNION ALL
    SELECT a.stream_id, coalesce(a.ended_as, 'archived') FROM archived_streams AS a
    WHERE a.stream_id = dependency.id::uuid AND a.ended_as IS DISTINCT FROM 'completed'
) AS d
ORDER BY j.job_id, d.job_id LIMIT $1

-- name: held_without_lease  jobs that a worker holds without a lease that still runs
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs_held AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
WHERE j.lease_until IS NULL OR j.lease_until <= now()
ORDER BY j.job_id LIMIT $1

-- name: next_due  the first time after $1, or after now, at which a job's wait is over; now; and
-- whether any job waits that is not queued yet
SELECT least(
    (SELECT min(available_at) FROM jobs_waiting WHERE available_at > least($1, now())),
    (SELECT min(available_at) FROM jobs_ready WHERE available_at > least($1, now()))
) AS at, now() AS asked_at, EXISTS (SELECT FROM jobs_waiting) AS has_waiting
