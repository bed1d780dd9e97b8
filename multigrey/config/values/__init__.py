"""The kinds of values a configuration holds."""
