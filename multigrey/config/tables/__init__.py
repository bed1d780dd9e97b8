"""One file for each table of multigrey.toml."""
