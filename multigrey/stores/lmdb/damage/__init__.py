"""A damaged store: how it is noticed, walked in a process of its own, and what can be read of it saved."""
