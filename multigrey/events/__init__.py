"""A decision as a line of the log, as JSON, and as what a search looks for."""
