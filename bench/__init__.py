"""`make bench`: where minidock stands against docker, podman and crun, in ratios of one run.

Read next: __main__.py.
"""
