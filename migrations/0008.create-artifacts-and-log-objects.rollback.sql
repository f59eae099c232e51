-- Logs that are in the store stay there, and are not seen again before the way up.
DROP INDEX log_chunks_large;
DROP TABLE object_store;
DROP TABLE unfinished_objects;
DROP TABLE log_objects;
DROP TABLE artifacts;
