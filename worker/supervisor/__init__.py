"""Runs a worker's commands in a process of its own, and kills them when the worker cannot.

`__main__` is that process; `supervision` is the worker's side of it; the others are shared. The
process imports the standard library and `worker.spawning` only: it is small and starts fast.
"""
