"""Where records are kept: `memory` for trials, `lmdb` for everything else.

All of them fulfil `contracts.Store`, and one suite of tests (`tests/contract/test_store.py`) runs
unchanged over each.
"""
