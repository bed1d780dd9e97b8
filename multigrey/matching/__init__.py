"""Matching for rules and whitelists: tables of many values, the fields of an attempt, times of day."""
