-- The SQL of audit_exports.py. Each statement follows a line `-- name: NAME  what it is for`.

-- name: before  the position before the first event that can be recorded as late as $1
SELECT coalesce((
    SELECT position - 1 FROM audit_events
    WHERE reached_at >= $1 ORDER BY reached_at, position LIMIT 1
), 9223372036854775807)

-- name: page  the oldest events behind $1, up to $2, that pass the filter; at most $3, of $4 bytes
-- To be planned for its values: then what is NULL is gone, and the index of what is rarest is walked.
SELECT
    position, event_id, stream_type, stream_id, version, type, schema_version, data,
    actor_type, actor_id, token_id, host(ip) AS ip, user_agent, request_id, correlation_id,
    causation_id, recorded_at, outcome
FROM (
    SELECT
        e.position, e.event_id, e.stream_type, e.stream_id, e.version, e.type, e.schema_version,
        e.data::text AS data, e.actor_type, e.actor_id, e.token_id, e.ip, e.user_agent,
        e.request_id, e.correlation_id, e.causation_id, e.recorded_at, page.outcome,
        sum(octet_length(e.data::text)) OVER (
            ORDER BY e.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS bytes_before
    FROM (
        SELECT a.position, a.outcome FROM audit_events AS a
        WHERE a.position > $1 AND a.position <= $2
            AND ($5::text IS NULL OR a.actor_type = $5)
            AND ($6::uuid IS NULL OR a.actor_id = $6)
            AND ($7::uuid IS NULL OR a.token_id = $7)
            AND ($8::text IS NULL OR a.type = $8)
            AND ($9::uuid IS NULL OR a.stream_id = $9)
            AND ($10::text IS NULL OR a.stream_type = $10)
            AND ($11::inet IS NULL OR a.ip = $11)
            AND ($12::text IS NULL OR a.request_id = $12)
            AND ($13::text IS NULL OR a.outcome = $13)
            AND ($14::timestamptz IS NULL OR a.recorded_at >= $14)
            AND ($15::timestamptz IS NULL OR a.recorded_at < $15)
        ORDER BY a.position LIMIT $3
    ) AS page
    JOIN events AS e USING (position)
) AS sized
WHERE bytes_before IS NULL OR bytes_before < $4
ORDER BY position
