"""The way of one attempt, and the explanation of it."""
