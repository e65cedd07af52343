"""The tests, in tiers by what they need: unit and api anything, root a kernel, cgroup a full cgroup v2.

Read next: conftest.py (markers, strict mode), support/daemon.py (a real daemon for a test), support/ledger.py.
"""
