-- depends: 0017.keep-lists-forward
-- A lone submit and its ring in one round trip. A worker waits for that ring, and a statement of its
-- own for it costs two wake-ups of programs that had gone to sleep. It is behind the commit all the
-- same: NOTIFY holds a lock of the whole server until the disk has what was committed with it.

CREATE PROCEDURE submit_and_ring(
    text, text, text, uuid, uuid, inet, text, text, uuid, uuid, text, jsonb,
    int, uuid, text, text, text, int, text, jsonb, int, INOUT answer timestamptz
) LANGUAGE plpgsql AS $procedure$
BEGIN
    -- What the program itself sends when it rings apart.
    WITH first AS (
        INSERT INTO events (
            stream_id, version, event_id, stream_type, type, schema_version, data, actor_type,
            actor_id, token_id, ip, user_agent, request_id, correlation_id, causation_id
        )
        SELECT
            stream_id, 1, ($11::text || to_hex(x'10000'::int + nth))::uuid, $2::text,
            'job.submitted', 2, $12::jsonb, $3::text, $4::uuid, $5::uuid, $6::inet, $7::text,
            $8::text, $9::uuid, $10::uuid
        FROM unnest($1::text::uuid[]) WITH ORDINALITY AS i (stream_id, nth)
    ), new_rows AS (
        SELECT
            job_id, $13::int AS version, $14::uuid AS user_id, $15::text AS name,
            $16::text AS source_type, $17::text AS queue_name, $18::int AS priority,
            $19::text AS unique_key, $20::jsonb AS labels
        FROM unnest($1::text::uuid[]) AS i (job_id)
    ), new_jobs AS (
        INSERT INTO jobs_ready (
            job_id, version, status, user_id, name, source_type, queue_name, priority,
            unique_key, labels, attempt, failures, lost_leases, created_at, updated_at
        )
        SELECT
            job_id, version, 'queued', user_id, name, source_type, queue_name, priority,
            unique_key, labels, 0, 0, 0, now(), now()
        FROM new_rows AS n
    ), counted AS (
        INSERT INTO queue_changes (queue_name, status, jobs) VALUES ($17, 'queued', $21)
    )
    SELECT now() AS recorded_at INTO answer;
    COMMIT;
    -- A ring that a crash takes with it costs nothing: who comes back looks anyway.
    SET LOCAL synchronous_commit = off;
    NOTIFY reactorcide_jobs;
    NOTIFY reactorcide_events;
END $procedure$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT EXECUTE ON PROCEDURE submit_and_ring TO reactorcide_app;
    END IF;
END $$;
