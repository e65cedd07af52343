"""minidock: a container engine small enough to read and real enough to use.

The parts, from the terminal down to the kernel:

- ``cli`` and ``client``: the command ``minidock``; terminal in, HTTP out.
- ``api``: the daemon's HTTP server, a subset of the Docker Engine API.
- ``engine``: containers, their states and their life.
- ``image``, ``network``, ``cgroup``, ``runtime``: what the engine builds containers from.
- ``linux`` and ``_shim``: the system calls that Python lacks.
- ``wire`` and ``db``: what several of them share.

Read next: ``runtime/plan.py``, which answers what a container is, as a list of kernel steps.
"""

__version__ = "0.1.0"
