-- depends: 0009.follow-the-log
-- What an audit asks of attempts that came to nothing, of reads, and of what followed from what.

-- The job that somebody else than its owner read.
ALTER TABLE audit_events ADD COLUMN job_id uuid;

CREATE INDEX audit_events_job ON audit_events (job_id, position DESC) WHERE job_id IS NOT NULL;
CREATE INDEX audit_events_anonymous ON audit_events (position DESC) WHERE actor_type = 'anonymous';
CREATE INDEX audit_events_cause ON audit_events (causation_id, position)
    WHERE causation_id IS NOT NULL;
