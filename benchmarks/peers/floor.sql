-- A row that says how a job stands, and a log of what happened to it; nothing more.

CREATE TABLE jobs (
    job_id      uuid        PRIMARY KEY,
    version     integer     NOT NULL DEFAULT 1,
    status      text        NOT NULL DEFAULT 'queued',
    queue_name  text        NOT NULL DEFAULT 'default',
    priority    integer     NOT NULL DEFAULT 0,
    attempt     integer     NOT NULL DEFAULT 0,
    data        jsonb       NOT NULL,
    worker_id   text,
    lease_until timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz
);
CREATE INDEX jobs_claimable ON jobs (queue_name, priority DESC, job_id) WHERE status = 'queued';

CREATE TABLE events (
    position    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id   uuid        NOT NULL,
    version     integer     NOT NULL,
    type        text        NOT NULL,
    data        jsonb       NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (stream_id, version)
);
