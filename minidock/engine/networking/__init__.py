"""Networks as the engine sees them: who is on which, by what name and address, and which ports lead there.

``networks.py`` holds the networks, ``endpoints.py`` and ``connections.py`` the containers on them, ``ports.py`` what is
published. What the kernel is told stands in ../../network. Read next: networks.py.
"""
