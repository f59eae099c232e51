"""The execution shell: claim, lease, run, report, stop."""
