"""This project beside other queues on PostgreSQL and the bare floor: one machine, one run.

Each system is a program of its own (`with_*`), all asked the same things in the same words
(`program.py` and `program.js`). `__main__.py` runs them in turn and says what came out.
"""
