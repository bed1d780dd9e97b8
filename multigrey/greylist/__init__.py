"""Makes the decision: from records, time and policy it computes a verdict and new records."""
