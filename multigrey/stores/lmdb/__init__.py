"""The embedded store: a journal, and LMDB behind it."""
