"""The rules: what may happen to a job, token, user or worker.

No I/O, no clock, no randomness: only the standard library and pydantic.
"""
