"""Readers for the kinds of values in a configuration."""
