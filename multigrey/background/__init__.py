"""Background work: alarms, expiry, eviction, flow, growth, hits, supervision."""
