"""Linux: what the engine needs of the kernel that Python's standard library does not offer.

- ``shim``: system calls through the C extension ``minidock._shim``; failures are OSError with the path.
- ``mountinfo``: what is mounted, parsed. ``doctor``: whether this machine can run containers, and what to do if not.
- ``minidock-monitor``: not a module but the static program that runs each container; see ``shim.monitor_path``.

Everything that happens inside a container happens in C, in that program: nothing here runs behind clone3.
Read next: shim.py, then csrc/walk.c.
"""
