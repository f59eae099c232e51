-- The SQL of jobs.py. Each statement follows a line `-- name: NAME  what it is for`.
-- What was asked for is read where it is: in the job's first event.

-- name: inline  the rows of new and changed jobs, and their leases, inside the append's statement
, new_jobs AS (
    INSERT INTO jobs (
        job_id, version, status, attempt, failures, lost_leases, worker_id, available_at,
        cancel_grace_seconds, exit_code, last_error, created_at, updated_at, claimed_at,
        started_at, completed_at, cancel_requested_at, user_id, name, source_type, queue_name,
        priority, unique_key, labels
    )
    SELECT
        job_id, version, status, attempt, failures, lost_leases, worker_id, available_at,
        cancel_grace_seconds, exit_code, last_error, now(), now(),
        CASE WHEN is_claimed THEN now() END,
        CASE WHEN is_started THEN now() END,
        CASE WHEN is_ended THEN now() END,
        CASE WHEN is_cancel_asked THEN now() END,
        user_id, name, source_type, queue_name, priority, unique_key, labels
    FROM unnest(
        $17::uuid[], $18::int[], $19::text[], $20::int[], $21::int[], $22::int[], $23::uuid[],
        $24::timestamptz[], $25::int[], $26::int[], $27::text[], $28::bool[], $29::bool[],
        $30::bool[], $31::bool[], $32::uuid[], $33::text[], $34::text[], $35::text[], $36::int[],
        $37::text[], $38::jsonb[]
    ) AS n (
        job_id, version, status, attempt, failures, lost_leases, worker_id,
        available_at, cancel_grace_seconds, exit_code, last_error, is_claimed, is_started,
        is_ended, is_cancel_asked, user_id, name, source_type, queue_name, priority,
        unique_key, labels
    )
    WHERE n.job_id = ANY (ARRAY(SELECT stream_id FROM first))
),
changed_jobs AS (
    UPDATE jobs SET
        version = c.version,
        status = c.status,
        attempt = c.attempt,
        failures = c.failures,
        lost_leases = c.lost_leases,
        worker_id = c.worker_id,
        available_at = c.available_at,
        cancel_grace_seconds = c.cancel_grace_seconds,
        exit_code = c.exit_code,
        last_error = c.last_error,
        updated_at = now(),
        claimed_at = CASE WHEN c.is_claimed THEN now() ELSE jobs.claimed_at END,
        started_at = CASE
            WHEN c.is_started THEN now()
            WHEN c.is_claimed THEN NULL
            ELSE jobs.started_at
        END,
        completed_at = CASE WHEN c.is_ended THEN now() ELSE jobs.completed_at END,
        cancel_requested_at = CASE
            WHEN c.is_cancel_asked THEN coalesce(jobs.cancel_requested_at, now())
            ELSE jobs.cancel_requested_at
        END
    FROM unnest(
        $39::uuid[], $40::int[], $41::text[], $42::int[], $43::int[], $44::int[], $45::uuid[],
        $46::timestamptz[], $47::int[], $48::int[], $49::text[], $50::bool[], $51::bool[],
        $52::bool[], $53::bool[]
    ) AS c (
        job_id, version, status, attempt, failures, lost_leases, worker_id,
        available_at, cancel_grace_seconds, exit_code, last_error, is_claimed, is_started,
        is_ended, is_cancel_asked
    )
    WHERE jobs.job_id = c.job_id AND c.job_id = ANY (ARRAY(SELECT stream_id FROM first))
),
opened_leases AS (
    INSERT INTO leases (job_id, attempt, worker_id, lease_until)
    SELECT job_id, attempt, worker_id, now() + lease_seconds * interval '1 second'
    FROM unnest($54::uuid[], $55::int[], $56::uuid[], $57::float8[])
        AS o (job_id, attempt, worker_id, lease_seconds)
    WHERE o.job_id = ANY (ARRAY(SELECT stream_id FROM first))
    ON CONFLICT (job_id) DO UPDATE SET
        attempt = excluded.attempt,
        worker_id = excluded.worker_id,
        lease_until = excluded.lease_until
),
closed_leases AS (
    DELETE FROM leases USING unnest($58::uuid[]) AS c (job_id)
    WHERE leases.job_id = c.job_id AND c.job_id = ANY (ARRAY(SELECT stream_id FROM first))
)

-- name: inline_submitted  the rows of jobs just submitted, which is all that most appends write
, new_jobs AS (
    INSERT INTO jobs (
        job_id, version, status, available_at, user_id, name, source_type, queue_name, priority,
        unique_key, labels, attempt, failures, lost_leases, created_at, updated_at
    )
    SELECT
        job_id, version, status, available_at, user_id, name, source_type, queue_name, priority,
        unique_key, labels, 0, 0, 0, now(), now()
    FROM unnest(
        $17::uuid[], $18::int[], $19::text[], $20::timestamptz[], $21::uuid[], $22::text[],
        $23::text[], $24::text[], $25::int[], $26::text[], $27::jsonb[]
    ) AS n (
        job_id, version, status, available_at, user_id, name,
        source_type, queue_name, priority, unique_key, labels
    )
    WHERE n.job_id = ANY (ARRAY(SELECT stream_id FROM first))
)

-- name: get  one visible job
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
WHERE j.job_id = $1 AND j.status <> 'deleted'

-- name: get_many  those of some jobs that are visible
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
WHERE j.job_id = ANY ($1::uuid[]) AND j.status <> 'deleted'

-- name: list_of_user  one page of a user's jobs, newest first
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM (
    SELECT * FROM jobs
    WHERE user_id = $10 AND status <> 'deleted'
        AND ($1::uuid IS NULL OR job_id < $1)
        AND ($2::text IS NULL OR status = $2)
        AND ($3::text IS NULL OR queue_name = $3)
        AND ($4::text IS NULL OR source_type = $4)
        AND ($5::jsonb IS NULL OR labels @> $5)
        AND ($6::timestamptz IS NULL OR created_at > $6)
        AND ($7::timestamptz IS NULL OR created_at < $7)
        AND ($8::text IS NULL OR strpos(lower(name), lower($8)) > 0)
    ORDER BY job_id DESC LIMIT $9 OFFSET $11
) AS j
JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
ORDER BY j.job_id DESC

-- name: list_of_all  one page of everybody's jobs, newest first
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM (
    SELECT * FROM jobs
    WHERE status <> 'deleted'
        AND ($1::uuid IS NULL OR job_id < $1)
        AND ($2::text IS NULL OR status = $2)
        AND ($3::text IS NULL OR queue_name = $3)
        AND ($4::text IS NULL OR source_type = $4)
        AND ($5::jsonb IS NULL OR labels @> $5)
        AND ($6::timestamptz IS NULL OR created_at > $6)
        AND ($7::timestamptz IS NULL OR created_at < $7)
        AND ($8::text IS NULL OR strpos(lower(name), lower($8)) > 0)
    ORDER BY job_id DESC LIMIT $9 OFFSET $10
) AS j
JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
ORDER BY j.job_id DESC

-- name: count_of_user  how many of a user's newest $8 jobs pass the filter, and how many there are
SELECT
    count(*) FILTER (
        WHERE ($1::text IS NULL OR status = $1)
        AND ($2::text IS NULL OR queue_name = $2)
        AND ($3::text IS NULL OR source_type = $3)
        AND ($4::jsonb IS NULL OR labels @> $4)
        AND ($5::timestamptz IS NULL OR created_at > $5)
        AND ($6::timestamptz IS NULL OR created_at < $6)
        AND ($7::text IS NULL OR strpos(lower(name), lower($7)) > 0)
    ) AS passing,
    count(*) AS looked_at
FROM (
    SELECT status, queue_name, source_type, labels, created_at, name FROM jobs
    WHERE user_id = $9 AND status <> 'deleted' ORDER BY job_id DESC LIMIT $8
) AS newest

-- name: count_of_all  the same over everybody's jobs
SELECT
    count(*) FILTER (
        WHERE ($1::text IS NULL OR status = $1)
        AND ($2::text IS NULL OR queue_name = $2)
        AND ($3::text IS NULL OR source_type = $3)
        AND ($4::jsonb IS NULL OR labels @> $4)
        AND ($5::timestamptz IS NULL OR created_at > $5)
        AND ($6::timestamptz IS NULL OR created_at < $6)
        AND ($7::text IS NULL OR strpos(lower(name), lower($7)) > 0)
    ) AS passing,
    count(*) AS looked_at
FROM (
    SELECT status, queue_name, source_type, labels, created_at, name FROM jobs
    WHERE status <> 'deleted' ORDER BY job_id DESC LIMIT $8
) AS newest

-- name: claimable  the next jobs of some queues: best priority first, then oldest
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM unnest($1::text[]) AS queue (name)
CROSS JOIN LATERAL (
    SELECT * FROM jobs
    WHERE queue_name = queue.name AND status = 'queued'
        AND (available_at IS NULL OR available_at <= now())
        AND labels <@ $2::jsonb
    ORDER BY priority DESC, job_id LIMIT $3
) AS j
JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
ORDER BY j.priority DESC, j.job_id LIMIT $3

-- name: due  waiting jobs whose time has come and whose dependencies all completed
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
WHERE j.status = 'submitted' AND (j.available_at IS NULL OR j.available_at <= now())
    AND NOT EXISTS (
        SELECT FROM jsonb_array_elements_text(e.data -> 'depends_on') AS dependency (id)
        WHERE NOT EXISTS (
            SELECT FROM jobs AS d WHERE d.job_id = dependency.id::uuid
                AND (d.status = 'completed' OR d.status = 'deleted' AND EXISTS (
                    SELECT FROM events AS c
                    WHERE c.stream_id = d.job_id AND c.type = 'job.completed'
                ))
        )
    )
ORDER BY j.available_at NULLS FIRST, j.job_id LIMIT $1

-- name: blocked  waiting jobs with a dependency that ended otherwise, and the first such
SELECT DISTINCT ON (j.job_id)
    j.*, e.position, e.type, e.schema_version, e.data::text AS data,
    d.job_id AS dependency, d.status AS dependency_status
FROM jobs AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
CROSS JOIN LATERAL jsonb_array_elements_text(e.data -> 'depends_on') AS dependency (id)
JOIN jobs AS d ON d.job_id = dependency.id::uuid
WHERE j.status = 'submitted'
    AND (d.status IN ('failed', 'cancelled', 'timeout') OR d.status = 'deleted' AND NOT EXISTS (
        SELECT FROM events AS c WHERE c.stream_id = d.job_id AND c.type = 'job.completed'
    ))
ORDER BY j.job_id, d.job_id LIMIT $1

-- name: held_without_lease  jobs that a worker holds without a lease that still runs
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j
CROSS JOIN LATERAL ( -- with a limit, so that it is looked up for the few, never joined as a whole
    SELECT * FROM events WHERE stream_id = j.job_id AND version = 1 LIMIT 1
) AS e
WHERE j.status IN ('claimed', 'running') AND NOT EXISTS (
    SELECT FROM leases AS l
    WHERE l.job_id = j.job_id AND l.attempt = j.attempt AND l.lease_until > now()
)
ORDER BY j.job_id LIMIT $1

-- name: active_with_key  the job with this unique key that has not ended
SELECT j.*, e.position, e.type, e.schema_version, e.data::text AS data
FROM jobs AS j JOIN events AS e ON e.stream_id = j.job_id AND e.version = 1
WHERE j.user_id = $1 AND j.queue_name = $2 AND j.unique_key = $3
    AND j.status IN ('submitted', 'queued', 'claimed', 'running')
ORDER BY j.job_id LIMIT 1

-- name: next_due_at  when the next job that waits for its time has waited long enough
SELECT least(
    (SELECT min(available_at) FROM jobs WHERE status = 'submitted' AND available_at > now()),
    (SELECT min(available_at) FROM jobs WHERE status = 'queued' AND available_at > now())
)

-- name: count_unended  how many jobs have not ended, by status, each from its own partial index
SELECT 'submitted' AS status, count(*) AS jobs FROM jobs WHERE status = 'submitted'
UNION ALL SELECT 'queued', count(*) FROM jobs WHERE status = 'queued'
UNION ALL SELECT 'claimed', count(*) FROM jobs
WHERE status IN ('claimed', 'running') AND status = 'claimed'
UNION ALL SELECT 'running', count(*) FROM jobs
WHERE status IN ('claimed', 'running') AND status = 'running'
