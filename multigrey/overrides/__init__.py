"""What administrators change at run time, kept in the store."""
