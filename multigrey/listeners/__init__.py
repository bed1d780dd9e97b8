"""Endpoints: opening them, and the loop that serves their connections."""
