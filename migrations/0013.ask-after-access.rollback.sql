DROP INDEX audit_events_cause;
DROP INDEX audit_events_anonymous;
ALTER TABLE audit_events DROP COLUMN job_id;
