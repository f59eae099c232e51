-- The SQL of job_rows.py. Each statement follows a line `-- name: NAME  what it is for`.

-- name: inline  the rows of new and changed jobs, inside the append's statement
, new_jobs AS (
    INSERT INTO jobs (
        job_id, version, status, attempt, failures, lost_leases, worker_id, available_at,
        cancel_grace_seconds, exit_code, last_error, result, created_at, updated_at, claimed_at,
        started_at, completed_at, cancel_requested_at, lease_until, user_id, name, source_type,
        queue_name, priority, unique_key, labels
    )
    SELECT
        job_id, version, status, attempt, failures, lost_leases, worker_id, available_at,
        cancel_grace_seconds, exit_code, last_error, result, now(), now(),
        CASE WHEN is_claimed THEN now() END,
        CASE WHEN is_started THEN now() END,
        CASE WHEN is_ended THEN now() END,
        CASE WHEN is_cancel_asked THEN now() END,
        now() + lease_seconds * interval '1 second',
        user_id, name, source_type, queue_name, priority, unique_key, labels
    FROM unnest(
        $17::uuid[], $18::int[], $19::text[], $20::int[], $21::int[], $22::int[], $23::uuid[],
        $24::timestamptz[], $25::int[], $26::int[], $27::text[], $28::jsonb[], $29::bool[],
        $30::bool[], $31::bool[], $32::bool[], $33::float8[], $34::uuid[], $35::text[],
        $36::text[], $37::text[], $38::int[], $39::text[], $40::jsonb[]
    ) AS n (
        job_id, version, status, attempt, failures, lost_leases, worker_id,
        available_at, cancel_grace_seconds, exit_code, last_error, result, is_claimed,
        is_started, is_ended, is_cancel_asked, lease_seconds, user_id, name, source_type,
        queue_name, priority, unique_key, labels
    )
    WHERE (n.job_id IN (SELECT stream_id FROM first)) IS TRUE
    RETURNING queue_name, status
),
gone AS (
    DELETE FROM jobs USING unnest($41::uuid[]) AS c (job_id)
    WHERE jobs.job_id = c.job_id AND (c.job_id IN (SELECT stream_id FROM first)) IS TRUE
    RETURNING jobs.*
),
changed_jobs AS (
    INSERT INTO jobs (
        job_id, version, status, attempt, failures, lost_leases, worker_id, available_at,
        cancel_grace_seconds, exit_code, last_error, result, created_at, updated_at, claimed_at,
        started_at, completed_at, cancel_requested_at, lease_until, user_id, name, source_type,
        queue_name, priority, unique_key, labels
    )
    SELECT
        g.job_id, c.version, c.status, c.attempt, c.failures, c.lost_leases, c.worker_id,
        c.available_at, c.cancel_grace_seconds, c.exit_code,
        -- What has ended is only deleted; it may have been redacted since who deletes has read it.
        CASE WHEN g.completed_at IS NULL THEN c.last_error ELSE g.last_error END,
        CASE WHEN g.completed_at IS NULL THEN c.result ELSE g.result END,
        g.created_at, now(),
        CASE WHEN c.is_claimed THEN now() ELSE g.claimed_at END,
        CASE
            WHEN c.is_started THEN now()
            WHEN c.is_claimed THEN NULL
            ELSE g.started_at
        END,
        CASE WHEN c.is_ended THEN now() ELSE g.completed_at END,
        CASE
            WHEN c.is_cancel_asked THEN coalesce(g.cancel_requested_at, now())
            ELSE g.cancel_requested_at
        END,
        CASE
            WHEN c.lease_seconds IS NOT NULL THEN now() + c.lease_seconds * interval '1 second'
            WHEN c.status IN ('claimed', 'running') THEN g.lease_until
        END,
        g.user_id, g.name, g.source_type, g.queue_name, g.priority, g.unique_key, g.labels
    FROM gone AS g
    JOIN unnest(
        $41::uuid[], $42::int[], $43::text[], $44::int[], $45::int[], $46::int[], $47::uuid[],
        $48::timestamptz[], $49::int[], $50::int[], $51::text[], $52::jsonb[], $53::bool[],
        $54::bool[], $55::bool[], $56::bool[], $57::float8[]
    ) AS c (
        job_id, version, status, attempt, failures, lost_leases, worker_id,
        available_at, cancel_grace_seconds, exit_code, last_error, result, is_claimed,
        is_started, is_ended, is_cancel_asked, lease_seconds
    ) ON c.job_id = g.job_id
    RETURNING queue_name, status
),
counted AS (
    INSERT INTO queue_changes (queue_name, status, jobs)
    SELECT queue_name, status, sum(jobs) FROM (
        SELECT queue_name, status, 1 AS jobs FROM new_jobs
        UNION ALL SELECT queue_name, status, 1 FROM changed_jobs
        UNION ALL SELECT queue_name, status, -1 FROM gone
    ) AS moved
    WHERE status IN ('submitted', 'queued', 'claimed', 'running')
    GROUP BY queue_name, status HAVING sum(jobs) <> 0
)

-- name: into_waiting  jobs just submitted that wait for something
, new_jobs AS (
    INSERT INTO jobs_waiting (
        job_id, version, status, available_at, user_id, name, source_type, queue_name, priority,
        unique_key, labels, attempt, failures, lost_leases, created_at, updated_at
    )
    SELECT
        job_id, version, 'submitted', available_at, user_id, name, source_type, queue_name,
        priority, unique_key, labels, 0, 0, 0, now(), now()
    FROM new_rows AS n

-- name: into_ready  jobs just submitted that may run, which is what most appends write
, new_jobs AS (
    INSERT INTO jobs_ready (
        job_id, version, status, user_id, name, source_type, queue_name, priority,
        unique_key, labels, attempt, failures, lost_leases, created_at, updated_at
    )
    SELECT
        job_id, version, 'queued', user_id, name, source_type, queue_name, priority,
        unique_key, labels, 0, 0, 0, now(), now()
    FROM new_rows AS n

-- name: new_as_held  of new jobs, those whose appends held
    WHERE (n.job_id IN (SELECT stream_id FROM first)) IS TRUE
    RETURNING queue_name, status
),
counted AS (
    INSERT INTO queue_changes (queue_name, status, jobs)
    SELECT queue_name, status, count(*) FROM new_jobs GROUP BY queue_name, status
)

-- name: new_all  all of them
    RETURNING queue_name, status
),
counted AS (
    INSERT INTO queue_changes (queue_name, status, jobs)
    SELECT queue_name, status, count(*) FROM new_jobs GROUP BY queue_name, status
)

-- name: new_known  all of them, when their queue and their number are known
),
counted AS (
    INSERT INTO queue_changes (queue_name, status, jobs) VALUES (${queue}, '{status}', ${count})
)

-- name: claim_standing  take the jobs that are queued at the version expected
DELETE FROM jobs_ready AS j USING incoming AS i
WHERE j.job_id = {wanted} AND j.version = i.version - 1
RETURNING j.job_id AS stream_id, i.*, j.user_id, j.name, j.source_type, j.queue_name, j.priority,
    j.unique_key, j.labels, j.failures, j.lost_leases, j.exit_code, j.last_error, j.created_at,
    j.cancel_requested_at

-- name: claim_rows  and hold them for worker ${worker} and ${seconds} seconds
, held AS (
    INSERT INTO jobs_held (
        job_id, version, status, attempt, failures, lost_leases, worker_id, exit_code, last_error,
        created_at, updated_at, claimed_at, started_at, cancel_requested_at, lease_until, user_id,
        name, source_type, queue_name, priority, unique_key, labels
    )
    SELECT
        stream_id, {version}, '{status}', attempt, failures, lost_leases, ${worker}::uuid,
        exit_code, last_error, created_at, now(), now(), {started_at}, cancel_requested_at,
        now() + ${seconds}::float8 * interval '1 second', user_id, name, source_type, queue_name,
        priority, unique_key, labels
    FROM standing
),
counted AS (
    INSERT INTO queue_changes (queue_name, status, jobs)
    SELECT queue_name, status, sign * jobs
    FROM (SELECT queue_name, count(*) AS jobs FROM standing GROUP BY queue_name) AS n
    CROSS JOIN (VALUES ('queued', -1), ('{status}', 1)) AS v (status, sign)
)

-- name: first_chosen  the first jobs of queues $14 for labels $15, at most $16, as a look has them
SELECT j.*, (row_number() OVER ())::int AS nth FROM (
    SELECT r.place FROM unnest($14::text[]) AS queue (name)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, priority, job_id FROM jobs_ready
        WHERE queue_name = queue.name AND available_at IS NULL AND labels <@ $15::jsonb
        ORDER BY priority DESC, job_id LIMIT $16 FOR UPDATE SKIP LOCKED
    ) AS r
    ORDER BY r.priority DESC, r.job_id LIMIT $16
) AS j

-- name: first_chosen_of_one  the same of one queue alone
SELECT f.place, (row_number() OVER ())::int AS nth FROM (
    SELECT ctid AS place FROM jobs_ready
    WHERE queue_name = ($14::text[])[1] AND available_at IS NULL AND labels <@ $15::jsonb
    ORDER BY priority DESC, job_id LIMIT $16 FOR UPDATE SKIP LOCKED
) AS f

-- name: first_chosen_after  the same of one queue, of what comes after job $20 of priority $19
-- The second part begins when the first gave less than was asked for: rows are locked as they come.
SELECT r.place, (row_number() OVER ())::int AS nth FROM (
    SELECT * FROM (
        SELECT ctid AS place FROM jobs_ready
        WHERE queue_name = ($14::text[])[1] AND priority = $19::int AND job_id > $20::uuid
            AND available_at IS NULL AND labels <@ $15::jsonb
        ORDER BY job_id LIMIT $16 FOR UPDATE SKIP LOCKED
    ) AS of_this_priority
    UNION ALL
    SELECT * FROM (
        SELECT ctid AS place FROM jobs_ready
        WHERE queue_name = ($14::text[])[1] AND priority < $19::int
            AND available_at IS NULL AND labels <@ $15::jsonb
        ORDER BY priority DESC, job_id LIMIT $16 FOR UPDATE SKIP LOCKED
    ) AS of_lower_ones
    LIMIT $16
) AS r

-- name: first_chosen_lately  of some queues and priorities what comes after a job of each ($19, $20)
SELECT j.*, (row_number() OVER ())::int AS nth FROM (
    SELECT r.place
    FROM unnest($14::text[], $19::int[], $20::uuid[]) AS class (queue_name, priority, after)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, priority, job_id FROM jobs_ready
        WHERE queue_name = class.queue_name AND priority = class.priority
            AND job_id > class.after AND available_at IS NULL AND labels <@ $15::jsonb
        ORDER BY job_id LIMIT $16 FOR UPDATE SKIP LOCKED
    ) AS r
    ORDER BY r.priority DESC, r.job_id LIMIT $16
) AS j

-- name: first_standing  take those that never ran: they all stand alike
DELETE FROM jobs_ready AS j USING chosen AS c
WHERE j.ctid = c.place AND j.attempt = 0
RETURNING j.job_id AS stream_id, j.version + 1 AS version, {event_id} AS event_id,
    1 AS attempt, j.user_id, j.name, j.source_type, j.queue_name, j.priority, j.unique_key,
    j.labels, j.failures, j.lost_leases, j.exit_code, j.last_error, j.created_at,
    j.cancel_requested_at

-- name: first_result  what was asked for, best priority first, then oldest; how many were chosen
-- A retry that is due is not, but counts: who is woken again and again would never look for it.
-- Without any there is a row all the same, which says so: who comes too late need not look.
SELECT
    s.stream_id, s.version, NULL AS tried, e.position, e.schema_version,
    (e.data - 'args')::text AS data, (e.data -> 'args')::text AS args, now() AS recorded_at,
    (SELECT count(*) FROM chosen)
        + (SELECT EXISTS (SELECT FROM jobs_ready WHERE available_at <= now()))::int AS chosen
FROM (VALUES (1)) AS one (row)
LEFT JOIN standing AS s ON true
LEFT JOIN LATERAL (
    SELECT * FROM events WHERE stream_id = s.stream_id AND version = 1 LIMIT 1
) AS e ON true
ORDER BY s.priority DESC, s.stream_id

-- name: start_standing  note the start of the jobs that are claimed at the version expected
UPDATE jobs_held AS j SET
    version = i.version, status = 'running', started_at = now(), updated_at = now()
FROM incoming AS i
WHERE j.job_id = {wanted} AND j.version = i.version - 1 AND j.status = 'claimed'
RETURNING j.job_id AS stream_id, i.*, j.queue_name

-- name: start_rows  and count them
, counted AS (
    INSERT INTO queue_changes (queue_name, status, jobs)
    SELECT queue_name, status, sign * jobs
    FROM (SELECT queue_name, count(*) AS jobs FROM standing GROUP BY queue_name) AS n
    CROSS JOIN (VALUES ('claimed', -1), ('running', 1)) AS v (status, sign)
)

-- name: complete_standing  take the jobs that are held at the version expected
DELETE FROM jobs_held AS j USING incoming AS i
WHERE j.job_id = {wanted} AND j.version = i.version - 1
RETURNING j.job_id AS stream_id, i.*, j.status, j.user_id, j.name, j.source_type, j.queue_name,
    j.priority, j.unique_key, j.labels, j.attempt, j.failures, j.lost_leases, j.worker_id,
    j.created_at, j.claimed_at,
    j.started_at, j.cancel_requested_at, j.cancel_grace_seconds

-- name: complete_rows  and put them where all ends
, ended AS (
    INSERT INTO jobs_ended (
        job_id, version, status, attempt, failures, lost_leases, worker_id, exit_code, result,
        created_at, updated_at, claimed_at, started_at, completed_at, cancel_requested_at,
        cancel_grace_seconds, user_id, name, source_type, queue_name, priority, unique_key, labels
    )
    SELECT
        stream_id, version, 'completed', attempt, failures, lost_leases, worker_id, exit_code,
        result, created_at, now(), claimed_at, started_at, now(), cancel_requested_at,
        cancel_grace_seconds, user_id, name, source_type, queue_name, priority, unique_key, labels
    FROM standing
),
counted AS (
    INSERT INTO queue_changes (queue_name, status, jobs)
    SELECT queue_name, status, -count(*) FROM standing GROUP BY queue_name, status
)
