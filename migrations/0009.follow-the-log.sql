-- depends: 0008.create-artifacts-and-log-objects
-- What follows the log behind its writers: how far each follower is, and the audit trail.

CREATE TABLE checkpoints (
    name             text        PRIMARY KEY,
    -- Everything up to here is in the projection's table.
    position         bigint      NOT NULL,
    moved_at         timestamptz NOT NULL DEFAULT now(),
    -- The event that the last runner did not know, and would not skip.
    stopped_position bigint,
    stopped_type     text
) WITH (fillfactor = 50);

-- One narrow row for each event, for the questions of an audit; the rest of the event is in the
-- log. The log itself has no index for them: its writers would pay for each.
CREATE TABLE audit_events (
    position       bigint      PRIMARY KEY,
    recorded_at    timestamptz NOT NULL,
    -- The latest recorded_at up to here: ascends with the positions, as recorded_at does not quite.
    reached_at     timestamptz NOT NULL,
    -- Recorded more than a second before reached_at: by a transaction that was open for long.
    is_late        boolean     NOT NULL,
    type           text        NOT NULL,
    stream_type    text        NOT NULL,
    stream_id      uuid        NOT NULL,
    actor_type     text        NOT NULL,
    actor_id       uuid,
    token_id       uuid,
    ip             inet,
    request_id     text,
    correlation_id uuid,
    causation_id   uuid,
    event_id       uuid        NOT NULL,
    outcome        text        NOT NULL CHECK (outcome IN ('success', 'denied', 'refused'))
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);

-- One for each filter, newest first; without the value that nearly every row has.
CREATE INDEX audit_events_actor ON audit_events (actor_id, position DESC) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_events_system ON audit_events (position DESC) WHERE actor_type = 'system';
CREATE INDEX audit_events_token ON audit_events (token_id, position DESC) WHERE token_id IS NOT NULL;
CREATE INDEX audit_events_type ON audit_events (type, position DESC);
CREATE INDEX audit_events_stream ON audit_events (stream_id, position DESC);
CREATE INDEX audit_events_stream_type ON audit_events (stream_type, position DESC)
    WHERE stream_type <> 'job';
CREATE INDEX audit_events_ip ON audit_events (ip, position DESC) WHERE ip IS NOT NULL;
CREATE INDEX audit_events_request ON audit_events (request_id, position DESC)
    WHERE request_id IS NOT NULL;
CREATE INDEX audit_events_outcome ON audit_events (outcome, position DESC) WHERE outcome <> 'success';
CREATE INDEX audit_events_reached ON audit_events (reached_at, position);
CREATE INDEX audit_events_late ON audit_events (position DESC) WHERE is_late;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints, audit_events TO reactorcide_app;
    END IF;
END $$;
