"""Claims about reactorcide, each held against a real PostgreSQL."""
