"""The worker: how commands run, what they leave, and how a worker takes and gives back work."""
