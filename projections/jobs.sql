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


-- name: active_with_key  the job with this unique key that has not ended
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
WHERE j.user_id = $1 AND j.queue_name = $2 AND j.unique_key = $3
    AND j.status IN ('submitted', 'queued', 'claimed', 'running')
ORDER BY j.job_id LIMIT 1

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
