"""Finds who is sending, and makes the keys under which attempts are stored."""
