"""The administrator's rules and classes, compiled for evaluation."""
