-- Logs that are in the store stay there, and are not seen again before the way up.
ALTER TABLE log_chunks RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
DROP INDEX log_chunks_large;
DROP TABLE object_store;
DROP TABLE unfinished_objects;
DROP TABLE log_objects;
DROP TABLE artifacts;
