-- The SQL of audit_events.py. Each statement follows a line `-- name: NAME  what it is for`.

-- name: fold  the rows of the events behind $1 and up to $2; from 0 on it looks at the log alone
SELECT
    position, recorded_at, reached_at,
    recorded_at < reached_at - interval '1 second' AS is_late, type, stream_type, stream_id,
    actor_type, actor_id, token_id, ip, request_id, correlation_id, causation_id, event_id,
    CASE type WHEN 'access.denied' THEN 'denied' WHEN 'access.refused' THEN 'refused'
        ELSE 'success' END AS outcome,
    CASE WHEN type IN ('access.log_read', 'access.artifact_read')
        THEN (data ->> 'job_id')::uuid END AS job_id
FROM (
    SELECT e.*, greatest(
        max(e.recorded_at) OVER (ORDER BY e.position ROWS UNBOUNDED PRECEDING),
        (
            SELECT reached_at FROM audit_events
            WHERE position BETWEEN 1 AND $1 ORDER BY position DESC LIMIT 1
        )
    ) AS reached_at
    FROM events AS e WHERE e.position > $1 AND e.position <= $2
) AS reaching
ORDER BY position

-- name: held  the checkpoint, which nobody moves until the transaction ends
SELECT position FROM checkpoints WHERE name = 'audit_events' FOR UPDATE

-- name: digest  how many rows the table has up to $1, and the sum of their hashes
SELECT count(*) AS rows, coalesce(sum(hash_record_extended(t, 0)), 0)::text AS digest
FROM (SELECT * FROM audit_events WHERE position <= $1) AS t

-- name: digest_of_log  the same of the fold
SELECT count(*) AS rows, coalesce(sum(hash_record_extended(t, 0)), 0)::text AS digest
FROM (SELECT FROM folded) AS t

-- name: differences  positions and columns in which the table and the fold differ, at most $3
SELECT
    coalesce(live.position, folded.position) AS key,
    CASE WHEN live.position IS NULL THEN 'missing' WHEN folded.position IS NULL THEN 'surplus'
        ELSE 'changed' END AS kind,
    ARRAY(
        SELECT l.key FROM jsonb_each(to_jsonb(live)) AS l
        JOIN jsonb_each(to_jsonb(folded)) AS r USING (key)
        WHERE live.position IS NOT NULL AND folded.position IS NOT NULL
            AND l.value IS DISTINCT FROM r.value
        ORDER BY 1
    ) AS columns
FROM (SELECT * FROM audit_events WHERE position <= $2) AS live
FULL JOIN (SELECT FROM folded) AS folded ON live.position = folded.position
WHERE live.position IS NULL OR folded.position IS NULL OR NOT live *= folded
ORDER BY 1 LIMIT $3

-- name: ended_access  reports of access that an archive may take: see endings.py
SELECT stream_id, 1 AS version FROM audit_events
WHERE stream_type = 'access' AND recorded_at < $1 AND position <= $2 AND stream_id > $3
ORDER BY stream_id LIMIT $4

-- name: drop  the rows of some streams; between which positions they were, and their latest time
WITH gone AS (
    DELETE FROM audit_events WHERE stream_id = ANY ($1::uuid[]) RETURNING position, recorded_at
)
SELECT min(position), max(position), max(recorded_at) FROM gone

-- name: reach  what rows behind $1 had reached by one that is gone: the last at $2, the latest $3
UPDATE audit_events AS a
SET reached_at = s.reached_at, is_late = a.recorded_at < s.reached_at - interval '1 second'
FROM (
    SELECT position, greatest(
        max(recorded_at) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING),
        (SELECT reached_at FROM audit_events WHERE position < $1 ORDER BY position DESC LIMIT 1)
    ) AS reached_at
    FROM audit_events
    WHERE position > $1 AND position <= coalesce((
        SELECT position FROM audit_events
        WHERE position > $2 AND recorded_at >= $3 ORDER BY position LIMIT 1
    ), 9223372036854775807)
) AS s
WHERE a.position = s.position AND a.reached_at <> s.reached_at

-- name: is_token  whether a token of this id did anything
SELECT EXISTS (SELECT FROM audit_events WHERE token_id = $1)

-- name: page  the newest events before $1 that pass the filter, with what the log says of them
-- To be planned for its values: then what is NULL is gone, and the index of what is rarest is walked.
SELECT
    e.position, e.event_id, e.stream_type, e.stream_id, e.version, e.type, e.schema_version,
    e.data::text, e.actor_type, e.actor_id, e.token_id, host(e.ip) AS ip, e.user_agent,
    e.request_id, e.correlation_id, e.causation_id, e.recorded_at
FROM (
    SELECT a.position FROM audit_events AS a
    WHERE a.position < $1
        AND ($4::text IS NULL OR a.actor_type = $4)
        AND ($5::uuid IS NULL OR a.actor_id = $5)
        AND ($6::uuid IS NULL OR a.token_id = $6)
        AND ($7::text IS NULL OR a.type = $7)
        AND ($8::uuid IS NULL OR a.stream_id = $8)
        AND ($9::text IS NULL OR a.stream_type = $9)
        AND ($10::inet IS NULL OR a.ip = $10)
        AND ($11::text IS NULL OR a.request_id = $11)
        AND ($12::text IS NULL OR a.outcome = $12)
        AND ($15::uuid IS NULL OR a.job_id = $15)
        -- Nothing before the first row that reached $13 can be recorded as late as that.
        AND ($13::timestamptz IS NULL OR (a.recorded_at >= $13 AND a.position >= (
            SELECT b.position FROM audit_events AS b
            WHERE b.reached_at >= $13 ORDER BY b.reached_at, b.position LIMIT 1
        )))
        -- A second after $14 was reached, only what is late can be recorded before it.
        AND ($14::timestamptz IS NULL OR (a.recorded_at < $14 AND a.position < coalesce((
            SELECT greatest(b.position, (
                SELECT l.position + 1 FROM audit_events AS l
                WHERE l.is_late AND l.position >= b.position AND l.recorded_at < $14
                ORDER BY l.position DESC LIMIT 1
            ))
            FROM audit_events AS b
            WHERE b.reached_at >= $14 + interval '1 second'
            ORDER BY b.reached_at, b.position LIMIT 1
        ), 9223372036854775807)))
    ORDER BY a.position DESC LIMIT $2 OFFSET $3
) AS page
JOIN events AS e USING (position)
ORDER BY e.position DESC
