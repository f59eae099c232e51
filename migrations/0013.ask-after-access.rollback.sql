DROP INDEX audit_events_actor_apart;
DROP INDEX audit_events_unserved_actor;
DROP INDEX audit_events_unserved_ip;
DROP INDEX audit_events_cause;
DROP INDEX audit_events_anonymous;
ALTER TABLE audit_events DROP COLUMN job_id;
