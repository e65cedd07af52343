"""The client library: the daemon's API as Python calls. ``minidock`` itself is built on it and on nothing else.

    from minidock.client import Client

    client = Client()                                  # unix:///run/minidock.sock, or $MINIDOCK_HOST
    made = client.create({"Image": "alpine", "Cmd": ["echo", "hi"]})
    client.start(made.id)
    print(client.wait(made.id).result().code)

Read next: client.py (one method per endpoint), connection.py (HTTP on a raw socket).
"""

from minidock.client.client import Client

__all__ = ["Client"]
