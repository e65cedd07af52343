"""What the client and the daemon share: errors, stream frames, versions, names, times, sizes, signals.

Nothing here imports another package of minidock, and nothing here may take long to import: the client starts with it.
"""
