"""The versions that both sides agree on.

``API_VERSION`` is the Docker Engine API version that the daemon speaks, ``MIN_API_VERSION`` the oldest that it accepts.
See: https://docs.docker.com/reference/api/engine/#api-version-matrix
"""

from __future__ import annotations

from minidock import __version__

VERSION = __version__
API_VERSION = "1.45"
MIN_API_VERSION = "1.24"
