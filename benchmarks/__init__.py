"""Measurements, each beside its floor: bare asyncpg doing the same rows."""
