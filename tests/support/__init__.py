"""What tests share: a PostgreSQL server for the session, a database for each test."""
