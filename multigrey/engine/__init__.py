"""The engine: judges attempts, and explains its verdicts."""
