-- depends: 0002.create-users-and-tokens
-- Jobs as they stand now, the leases of those that run, and the answers of keyed submits.

-- A row is narrow, because every step of a job writes it anew: what was asked for stays in the
-- log, in the job's first event.
CREATE TABLE jobs (
    job_id              uuid             NOT NULL PRIMARY KEY,
    user_id             uuid             NOT NULL,
    version             integer          NOT NULL,
    status              text             NOT NULL,
    name                text             NOT NULL,
    source_type         text             NOT NULL,
    queue_name          text             NOT NULL,
    priority            integer          NOT NULL,
    -- Not before this time: run_at at first, the retry's time later.
    available_at        timestamptz,
    unique_key          text,
    labels              jsonb            NOT NULL,
    attempt             integer          NOT NULL,
    failures            integer          NOT NULL,
    lost_leases         integer          NOT NULL,
    worker_id           uuid,
    exit_code           integer,
    last_error          text,
    cancel_grace_seconds integer,
    created_at          timestamptz      NOT NULL,
    updated_at          timestamptz      NOT NULL,
    claimed_at          timestamptz,
    started_at          timestamptz,
    completed_at        timestamptz,
    cancel_requested_at timestamptz
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- A claim reads the first few of this: best priority first, oldest (ids are time-ordered) first.
CREATE INDEX jobs_claimable ON jobs (queue_name, priority DESC, job_id) WHERE status = 'queued';
CREATE INDEX jobs_waiting ON jobs (available_at, job_id) WHERE status = 'submitted';
CREATE INDEX jobs_delayed ON jobs (available_at) WHERE status = 'queued' AND available_at IS NOT NULL;
CREATE INDEX jobs_held ON jobs (job_id) WHERE status IN ('claimed', 'running');
CREATE INDEX jobs_by_user ON jobs (user_id, job_id DESC) WHERE status <> 'deleted';
CREATE INDEX jobs_unique_key ON jobs (user_id, queue_name, unique_key)
    WHERE unique_key IS NOT NULL AND status IN ('submitted', 'queued', 'claimed', 'running');

-- Not a fold of the log: a lease is moved on by every beat. A job that is claimed or running
-- and has no row here, or one in the past, has lost its worker. No index on lease_until: a
-- beat then stays on its page (HOT), and who looks for lost leases comes from jobs_held.
CREATE TABLE leases (
    job_id      uuid        PRIMARY KEY,
    attempt     integer     NOT NULL,
    worker_id   uuid        NOT NULL,
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- Not a fold of the log: the first answer to a keyed submit, kept for 24 hours.
CREATE TABLE idempotency_keys (
    user_id     uuid        NOT NULL,
    key         text        NOT NULL,
    path        text        NOT NULL,
    body_sha256 bytea       NOT NULL,
    status      smallint    NOT NULL,
    location    text,
    body        text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
