"""Backups: the archive that holds one, and putting what is in it in place."""
