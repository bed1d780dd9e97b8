"""The control socket of a running daemon, and the operations that administrators run through it."""
