-- depends: 0006.grant-to-processes
-- Each job's row moves with its status: what is claimed from stays small, whatever has ended.

ALTER TABLE jobs RENAME TO jobs_before;
DROP INDEX jobs_claimable, jobs_waiting, jobs_delayed, jobs_held, jobs_by_user, jobs_unique_key;

CREATE TABLE jobs (
    job_id              uuid        NOT NULL,
    user_id             uuid        NOT NULL,
    version             integer     NOT NULL,
    status              text        NOT NULL,
    name                text        NOT NULL,
    source_type         text        NOT NULL,
    queue_name          text        NOT NULL,
    priority            integer     NOT NULL,
    -- Not before this time: run_at of a job that waits, the retry's time of one that is queued.
    available_at        timestamptz,
    unique_key          text,
    labels              jsonb       NOT NULL,
    attempt             integer     NOT NULL,
    failures            integer     NOT NULL,
    lost_leases         integer     NOT NULL,
    worker_id           uuid,
    exit_code           integer,
    last_error          text,
    result              jsonb,
    cancel_grace_seconds integer,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    claimed_at          timestamptz,
    started_at          timestamptz,
    completed_at        timestamptz,
    cancel_requested_at timestamptz,
    -- Not a fold of the log: moved on by every beat of the worker that holds the job.
    lease_until         timestamptz
) PARTITION BY LIST (status);

-- A row lives in one of the first three for as long as the job does, so these have many dead
-- rows and few live ones: vacuum by number, not by share. Nothing is updated in place but a
-- held row, whose beats stay on its page (HOT): its one index is the key.
CREATE TABLE jobs_waiting PARTITION OF jobs (PRIMARY KEY (job_id)) FOR VALUES IN ('submitted')
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE TABLE jobs_ready PARTITION OF jobs (PRIMARY KEY (job_id)) FOR VALUES IN ('queued')
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CREATE TABLE jobs_held PARTITION OF jobs (PRIMARY KEY (job_id)) FOR VALUES IN ('claimed', 'running')
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CREATE TABLE jobs_ended PARTITION OF jobs (PRIMARY KEY (job_id))
    FOR VALUES IN ('completed', 'failed', 'cancelled', 'timeout')
    WITH (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);
CREATE TABLE jobs_deleted PARTITION OF jobs (PRIMARY KEY (job_id)) FOR VALUES IN ('deleted');

INSERT INTO jobs SELECT
    job_id, user_id, version, status, name, source_type, queue_name, priority,
    -- From now on it is gone when it has come.
    CASE WHEN available_at IS NOT NULL AND (
        SELECT e.type FROM events AS e
        WHERE e.stream_id = job_id
            AND e.type IN ('job.submitted', 'job.queued', 'job.claimed', 'job.retry_scheduled')
        ORDER BY e.version DESC LIMIT 1
    ) IN ('job.submitted', 'job.retry_scheduled') THEN available_at END,
    unique_key, labels, attempt, failures, lost_leases, worker_id, exit_code, last_error,
    CASE WHEN completed_at IS NOT NULL AND exit_code IS NULL THEN (
        SELECT nullif(e.data -> 'result', 'null') FROM events AS e
        WHERE e.stream_id = job_id AND e.type = 'job.completed'
    ) END,
    cancel_grace_seconds, created_at, updated_at, claimed_at, started_at, completed_at,
    cancel_requested_at, l.lease_until
FROM jobs_before LEFT JOIN leases AS l USING (job_id, attempt, worker_id);
DROP TABLE jobs_before;
DROP TABLE leases;

-- A claim reads the first few of this: best priority first, oldest (ids are time-ordered) first.
-- Those that wait for their next attempt are not in its way.
CREATE INDEX jobs_ready_claimable ON jobs_ready (queue_name, priority DESC, job_id)
    WHERE available_at IS NULL;
CREATE INDEX jobs_ready_delayed ON jobs_ready (available_at, job_id) WHERE available_at IS NOT NULL;
CREATE INDEX jobs_waiting_due ON jobs_waiting (available_at, job_id);
CREATE INDEX jobs_waiting_by_user ON jobs_waiting (user_id, job_id DESC);
CREATE INDEX jobs_ready_by_user ON jobs_ready (user_id, job_id DESC);
CREATE INDEX jobs_ended_by_user ON jobs_ended (user_id, job_id DESC);
-- The few that did not complete are found among the many that did.
CREATE INDEX jobs_ended_amiss ON jobs_ended (status, job_id DESC)
    WHERE status IN ('failed', 'cancelled', 'timeout');
CREATE INDEX jobs_ended_amiss_by_user ON jobs_ended (user_id, status, job_id DESC)
    WHERE status IN ('failed', 'cancelled', 'timeout');
CREATE INDEX jobs_waiting_unique_key ON jobs_waiting (user_id, queue_name, unique_key)
    WHERE unique_key IS NOT NULL;
CREATE INDEX jobs_ready_unique_key ON jobs_ready (user_id, queue_name, unique_key)
    WHERE unique_key IS NOT NULL;
CREATE INDEX jobs_held_unique_key ON jobs_held (user_id, queue_name, unique_key)
    WHERE unique_key IS NOT NULL;

-- How many jobs of each queue stand in each status that is not final. What appends change is
-- noted as one row for each statement; who comes by adds the notes up. A count so never scans a
-- queue, and no two appends wait for one row.
CREATE TABLE queue_counts (
    queue_name text   NOT NULL,
    status     text   NOT NULL,
    jobs       bigint NOT NULL,
    PRIMARY KEY (queue_name, status)
) WITH (fillfactor = 50);
CREATE TABLE queue_changes (
    change_id  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue_name text    NOT NULL,
    status     text    NOT NULL,
    jobs       integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0);
INSERT INTO queue_counts
SELECT queue_name, status, count(*) FROM jobs
WHERE status IN ('submitted', 'queued', 'claimed', 'running') GROUP BY queue_name, status;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reactorcide_app')
        AND has_table_privilege('reactorcide_app', 'events', 'INSERT') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON
            jobs, jobs_waiting, jobs_ready, jobs_held, jobs_ended, jobs_deleted,
            queue_counts, queue_changes
            TO reactorcide_app;
    END IF;
END $$;
