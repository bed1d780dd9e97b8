"""The stores of records: `memory` for trials, `lmdb` for everything else.

All stores fulfil `contracts.Store`, and one suite of tests (`tests/contract/test_store.py`) runs unchanged
over each.
"""
