-- depends: 0003.create-jobs
-- Worker processes, and when each was last heard of.

CREATE TABLE workers (
    worker_id    uuid        PRIMARY KEY,
    version      integer     NOT NULL,
    status       text        NOT NULL,
    name         text        NOT NULL,
    hostname     text        NOT NULL,
    pid          integer     NOT NULL,
    queues       text[]      NOT NULL,
    concurrency  integer     NOT NULL,
    labels       jsonb       NOT NULL,
    runner       text        NOT NULL,
    code_version text        NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);

-- Not a fold of the log.
CREATE TABLE worker_beats (
    worker_id uuid        PRIMARY KEY,
    beat_at   timestamptz NOT NULL
) WITH (fillfactor = 50);
