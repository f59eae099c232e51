-- The log: one immutable row per fact.

CREATE SEQUENCE events_position_seq AS bigint CACHE 1;

CREATE TABLE events (
    position       bigint      NOT NULL DEFAULT nextval('events_position_seq'),
    event_id       uuid        NOT NULL,
    stream_id      uuid        NOT NULL,
    stream_type    text        NOT NULL,
    version        integer     NOT NULL CHECK (version > 0),
    schema_version smallint    NOT NULL,
    type           text        NOT NULL,
    data           jsonb       NOT NULL,
    actor_type     text        NOT NULL,
    actor_id       uuid,
    token_id       uuid,
    ip             inet,
    user_agent     text,
    request_id     text,
    correlation_id uuid,
    causation_id   uuid,
    payload_hash   bytea,
    -- The transaction's start: rows that the same transaction writes say the same time.
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (position),
    CONSTRAINT events_stream_version UNIQUE (stream_id, version)
);
ALTER SEQUENCE events_position_seq OWNED BY events.position;

-- An append-only table has no dead rows: vacuum is for the visibility map and freezing only.
ALTER TABLE events SET (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);

CREATE FUNCTION events_are_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are immutable: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER events_no_update_delete BEFORE UPDATE OR DELETE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_immutable();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_immutable();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_update_delete;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_no_truncate;
