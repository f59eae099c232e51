"""The audit trail as a file: its formats, its stream, and the manifest that is signed for it."""
