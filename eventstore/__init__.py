"""The log: append-only events on PostgreSQL, and the pure rules about them."""
