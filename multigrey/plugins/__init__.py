"""Finding, guarding and registering plugins, and the one that is built in."""
