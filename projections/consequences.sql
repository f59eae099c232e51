-- The SQL of consequences.py. Each statement follows a line `-- name: NAME  what it is for`.

-- name: begun  the first events of request $1 behind position $2, of each stream that it touched
SELECT
    e.position, e.event_id, e.stream_type, e.stream_id, e.version, e.type, e.schema_version,
    e.data::text, e.actor_type, e.actor_id, e.token_id, host(e.ip) AS ip, e.user_agent,
    e.request_id, e.correlation_id, e.causation_id, e.recorded_at
FROM audit_events AS a JOIN events AS e USING (position)
WHERE a.request_id = $1 AND a.position > $2 AND NOT EXISTS (
    SELECT FROM events AS before
    WHERE before.stream_id = e.stream_id AND before.version = e.version - 1
        AND before.request_id = $1
)
ORDER BY a.position LIMIT $3

-- name: later  what follows in the streams $1 behind versions $2, of requests $3 and causes $4
-- Up to an event with another cause: from there on the stream goes on because of that.
SELECT
    e.position, e.event_id, e.stream_type, e.stream_id, e.version, e.type, e.schema_version,
    e.data::text, e.actor_type, e.actor_id, e.token_id, host(e.ip) AS ip, e.user_agent,
    e.request_id, e.correlation_id, e.causation_id, e.recorded_at
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::uuid[])
    AS entry (stream_id, version, request_id, causation_id)
CROSS JOIN LATERAL (
    SELECT * FROM events AS one
    WHERE one.stream_id = entry.stream_id AND one.version > entry.version
        AND (one.request_id IS NULL OR one.request_id = entry.request_id)
        AND one.version < coalesce((
            SELECT min(other.version) FROM events AS other
            WHERE other.stream_id = entry.stream_id AND other.version > entry.version
                AND other.causation_id <> coalesce(entry.causation_id, other.event_id)
        ), 2147483647)
    ORDER BY one.version LIMIT $5
) AS e
ORDER BY e.position LIMIT $5

-- name: caused  what names one of the events $1 as its cause
SELECT
    e.position, e.event_id, e.stream_type, e.stream_id, e.version, e.type, e.schema_version,
    e.data::text, e.actor_type, e.actor_id, e.token_id, host(e.ip) AS ip, e.user_agent,
    e.request_id, e.correlation_id, e.causation_id, e.recorded_at
FROM audit_events AS a JOIN events AS e USING (position)
WHERE a.causation_id = ANY ($1::uuid[])
ORDER BY a.position LIMIT $2
