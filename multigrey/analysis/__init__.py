"""Analyses decisions of the history for reports and web pages: pure functions of their arguments."""
