"""The decision: records, time and numbers in, a verdict and new records out."""
