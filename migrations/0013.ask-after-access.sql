-- depends: 0012.archive-streams
-- What an audit asks of attempts that came to nothing, of reads, and of what followed from what.

-- The job that somebody else than its owner read.
ALTER TABLE audit_events ADD COLUMN job_id uuid;

CREATE INDEX audit_events_job ON audit_events (job_id, position DESC) WHERE job_id IS NOT NULL;
CREATE INDEX audit_events_anonymous ON audit_events (position DESC) WHERE actor_type = 'anonymous';
CREATE INDEX audit_events_cause ON audit_events (causation_id, position)
    WHERE causation_id IS NOT NULL;

-- Two filters at once, where the one alone is busy: what came to nothing by address and by caller,
-- and what somebody did but for jobs. They are small: nearly every row is a success of a job.
CREATE INDEX audit_events_unserved_ip ON audit_events (ip, position DESC)
    WHERE outcome <> 'success';
CREATE INDEX audit_events_unserved_actor ON audit_events (actor_id, position DESC)
    WHERE outcome <> 'success';
CREATE INDEX audit_events_actor_apart ON audit_events (actor_id, position DESC)
    WHERE stream_type <> 'job';
