"""The read tables on a real PostgreSQL: equal to the fold of the log, and cheap to query."""
