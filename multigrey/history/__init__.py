"""The file of past decisions, its writer and its reader."""
