-- depends: 0004.create-workers
-- What commands print, as they print it. Not a fold of the log.

CREATE TABLE log_chunks (
    job_id     uuid        NOT NULL,
    attempt    integer     NOT NULL,
    -- 1, 2, 3 … within the attempt, over both streams.
    seq        integer     NOT NULL,
    stream     text        NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    printed_at timestamptz NOT NULL,
    bytes      bytea       NOT NULL,
    PRIMARY KEY (job_id, attempt, seq)
);
