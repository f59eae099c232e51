"""The HTTP shell: parse, hand to a command or a query, render."""
