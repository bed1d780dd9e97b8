"""Work beside the answers: expiry, eviction, growth, hits, supervision."""
