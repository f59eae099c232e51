"""The read side: one module is one table, all its writes and all its queries."""
