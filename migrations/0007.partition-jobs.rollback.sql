-- Back to one table, and to leases in one of their own.

ALTER TABLE jobs RENAME TO jobs_partitioned;
CREATE TABLE jobs (
    job_id              uuid             NOT NULL,
    user_id             uuid             NOT NULL,
    version             integer          NOT NULL,
    status              text             NOT NULL,
    name                text             NOT NULL,
    source_type         text             NOT NULL,
    queue_name          text             NOT NULL,
    priority            integer          NOT NULL,
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
CREATE TABLE leases (
    job_id      uuid        PRIMARY KEY,
    attempt     integer     NOT NULL,
    worker_id   uuid        NOT NULL,
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

INSERT INTO jobs SELECT
    job_id, user_id, version, status, name, source_type, queue_name, priority, available_at,
    unique_key, labels, attempt, failures, lost_leases, worker_id, exit_code, last_error,
    cancel_grace_seconds, created_at, updated_at, claimed_at, started_at, completed_at,
    cancel_requested_at
FROM jobs_partitioned;
INSERT INTO leases SELECT job_id, attempt, worker_id, lease_until FROM jobs_partitioned
WHERE lease_until IS NOT NULL AND worker_id IS NOT NULL;
DROP TABLE jobs_partitioned;
DROP TABLE queue_counts;
DROP TABLE queue_changes;

ALTER TABLE jobs ADD PRIMARY KEY (job_id);
CREATE INDEX jobs_claimable ON jobs (queue_name, priority DESC, job_id) WHERE status = 'queued';
CREATE INDEX jobs_waiting ON jobs (available_at, job_id) WHERE status = 'submitted';
CREATE INDEX jobs_delayed ON jobs (available_at) WHERE status = 'queued' AND available_at IS NOT NULL;
CREATE INDEX jobs_held ON jobs (job_id) WHERE status IN ('claimed', 'running');
CREATE INDEX jobs_by_user ON jobs (user_id, job_id DESC) WHERE status <> 'deleted';
CREATE INDEX jobs_unique_key ON jobs (user_id, queue_name, unique_key)
    WHERE unique_key IS NOT NULL AND status IN ('submitted', 'queued', 'claimed', 'running');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON jobs, leases TO reactorcide_app;
    END IF;
END $$;
