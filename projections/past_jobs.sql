-- The SQL of past_jobs.py. Each statement follows a line `-- name: NAME  what it is for`.
-- $1 is the position, $2 and $3 say to which status a type of event leads, $4 has the types that
-- leave it as it is. A NULL status means a type that is not known here. A job.submitted that does
-- not wait leads where job.queued does; in its version 1 every job waited.

-- name: counts  jobs by queue and status as they stood: as they stand, less what happened since
WITH leads AS (
    SELECT type, status FROM unnest($2::text[], $3::text[]) AS t (type, status)
), touched AS MATERIALIZED (
    SELECT stream_id, min(version) AS version FROM events
    WHERE position > $1 AND stream_type = 'job' GROUP BY stream_id
), noted AS (
    SELECT queue_name, status, jobs FROM queue_counts
    UNION ALL SELECT queue_name, status, jobs FROM queue_changes
    UNION ALL SELECT queue_name, status, -1 FROM touched
        JOIN jobs ON job_id = stream_id
    WHERE status IN ('submitted', 'queued', 'claimed', 'running')
    UNION ALL SELECT queue_name, leads.status, 1 FROM touched AS t
        CROSS JOIN LATERAL (
            SELECT CASE WHEN e.type = 'job.submitted' AND e.schema_version > 1
                AND e.data -> 'waits' IS DISTINCT FROM 'true'
                THEN 'job.queued' ELSE e.type END AS type
            FROM events AS e
            WHERE e.stream_id = t.stream_id AND e.version < t.version
                AND e.type <> ALL ($4::text[])
            ORDER BY e.version DESC LIMIT 1
        ) AS before
        LEFT JOIN leads USING (type)
        JOIN jobs ON job_id = stream_id
    WHERE t.version > 1
        AND (leads.status IS NULL
            OR leads.status IN ('submitted', 'queued', 'claimed', 'running'))
)
SELECT queue_name, status, sum(jobs)::bigint AS jobs FROM noted
GROUP BY queue_name, status HAVING sum(jobs) <> 0

-- name: page  the newest jobs that stood at a status, of as many as one look takes
-- $5 is the last time of an event up to the position, $6 the highest id that one look begins at.
SELECT looked.job_id, leads.status
FROM (
    SELECT job_id, queue_name FROM jobs
    WHERE job_id < $6 AND created_at <= $5 AND ($7::uuid IS NULL OR user_id = $7)
    ORDER BY job_id DESC LIMIT $8
) AS looked
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.type = 'job.submitted' AND e.schema_version > 1
        AND e.data -> 'waits' IS DISTINCT FROM 'true'
        THEN 'job.queued' ELSE e.type END AS type
    FROM events AS e
    WHERE e.stream_id = looked.job_id AND e.position <= $1 AND e.type <> ALL ($4::text[])
    ORDER BY e.version DESC LIMIT 1
) AS latest
LEFT JOIN (
    SELECT type, status FROM unnest($2::text[], $3::text[]) AS t (type, status)
) AS leads USING (type)
WHERE ($9::text IS NULL OR looked.queue_name = $9)
    AND (leads.status IS NULL OR ($10::text IS NULL AND leads.status <> 'deleted')
        OR leads.status = $10)
ORDER BY looked.job_id DESC LIMIT $11

-- name: look  the last job that one look takes, if there are so many
SELECT job_id FROM jobs
WHERE job_id < $2 AND created_at <= $1 AND ($3::uuid IS NULL OR user_id = $3)
ORDER BY job_id DESC LIMIT 1 OFFSET $4
