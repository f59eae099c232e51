"""The log as a stream: what happens, told to whoever may know while it happens."""
