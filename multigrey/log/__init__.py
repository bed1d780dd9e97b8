"""The decision log, its writer that never blocks, and diagnostics."""
