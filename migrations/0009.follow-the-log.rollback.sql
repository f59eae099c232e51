-- Both are folds of the log.

DROP TABLE audit_events;
DROP TABLE checkpoints;
