"""The `reactorcide` command: the one place that knows all the others."""
