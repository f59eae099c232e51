-- The SQL of jobs.py. Each statement follows a line `-- name: NAME  what it is for`.
-- What was asked for is read where it is: in the job's first event.

-- name: get  one visible job
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
WHERE j.job_id = $1 AND j.status <> 'deleted'

-- name: get_many  those of some jobs that are visible
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
WHERE j.job_id = ANY ($1::uuid[]) AND j.status <> 'deleted'

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

-- name: active_with_key  the job with this unique key that has not ended
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
WHERE j.user_id = $1 AND j.queue_name = $2 AND j.unique_key = $3
    AND j.status IN ('submitted', 'queued', 'claimed', 'running')
ORDER BY j.job_id LIMIT 1

-- name: next_due_at  when the next job that waits for its time has waited long enough
SELECT least(
    (SELECT min(available_at) FROM jobs_waiting WHERE available_at > now()),
    (SELECT min(available_at) FROM jobs_ready WHERE available_at > now())
)

-- name: carry  the leases into a rebuilt table, under the lock of the swap
UPDATE %2$I AS rebuilt SET lease_until = live.lease_until
FROM %1$I AS live
WHERE live.status IN ('claimed', 'running') AND rebuilt.status IN ('claimed', 'running')
    AND live.job_id = rebuilt.job_id AND live.attempt = rebuilt.attempt
    AND live.lease_until IS NOT NULL

-- name: ended  jobs that an archive may take: see endings.py; not while a job waits for one
SELECT j.job_id, j.version FROM jobs AS j
CROSS JOIN LATERAL (
    SELECT position FROM events WHERE stream_id = j.job_id ORDER BY version DESC LIMIT 1
) AS last
WHERE j.status IN ('completed', 'failed', 'cancelled', 'timeout', 'deleted')
    AND j.completed_at < $1 AND last.position <= $2 AND j.job_id > $3
    AND NOT EXISTS (SELECT FROM unfinished_objects AS u WHERE u.job_id = j.job_id)
    AND j.job_id <> ALL (ARRAY(
        SELECT jsonb_array_elements_text(e.data -> 'depends_on')::uuid
        FROM jobs_waiting AS w JOIN events AS e ON e.stream_id = w.job_id AND e.version = 1
    ))
ORDER BY j.job_id LIMIT $4

-- name: drop  the rows of archived jobs
DELETE FROM jobs WHERE job_id = ANY ($1::uuid[])
