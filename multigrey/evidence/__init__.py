"""Evidence from past mail about host names and about marks, kept over the store."""
