"""Endpoints: opening them, and the loop that serves whoever connects."""
