"""Forms of a decision: a line of the log, JSON, and the marks by which a search finds it."""
