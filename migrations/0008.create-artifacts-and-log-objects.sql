-- depends: 0007.partition-jobs
-- What lies in the object store, and where. None of these is a fold of the log.

-- What attempts left for others.
CREATE TABLE artifacts (
    job_id     uuid    NOT NULL,
    attempt    integer NOT NULL,
    path       text    COLLATE "C" NOT NULL,
    size       bigint  NOT NULL,
    sha256     bytea   NOT NULL,
    object_key text    NOT NULL,
    PRIMARY KEY (job_id, attempt, path)
);

-- The logs of ended attempts that are in the store and not in log_chunks any more. The nth block
-- of an object ends at byte block_ends[n], with chunk last_seqs[n]; that many bytes of each
-- stream have been printed by then.
CREATE TABLE log_objects (
    job_id      uuid     NOT NULL,
    attempt     integer  NOT NULL,
    object_key  text     NOT NULL,
    block_ends  bigint[] NOT NULL,
    last_seqs   integer[] NOT NULL,
    stdout_ends bigint[] NOT NULL,
    stderr_ends bigint[] NOT NULL,
    PRIMARY KEY (job_id, attempt)
);

-- Objects below a prefix of which nothing has come yet. Whoever puts some notes it before and
-- takes the note away in the transaction that makes them count, so that what a crash left is
-- found. Attempt 0: the job is being deleted.
CREATE TABLE unfinished_objects (
    prefix   text        PRIMARY KEY,
    job_id   uuid        NOT NULL,
    attempt  integer     NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unfinished_objects_job ON unfinished_objects (job_id);

-- The store that the API reads: who uses another one must not hide anything in there.
CREATE TABLE object_store (
    is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    store_id   uuid    NOT NULL
);

-- The logs that belong into the store. What is small stays: an object for each `echo` would be
-- a waste, and is no smaller than its chunks.
-- At most sixteen entries for each, however long it is.
CREATE INDEX log_chunks_large ON log_chunks (job_id, attempt)
    WHERE seq = 16 OR (seq < 16 AND octet_length(bytes) >= 2048);
-- What has gone into the store leaves dead rows, beside small logs that stay for long.
ALTER TABLE log_chunks SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON
            artifacts, log_objects, unfinished_objects, object_store
            TO reactorcide_app;
    END IF;
END $$;
