"""Background work: alarms, expiry, eviction, growth, hits, supervision."""
