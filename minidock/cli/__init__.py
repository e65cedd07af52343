"""The command ``minidock``: a terminal in front, the daemon's API behind, and nothing of the engine.

One file per group of commands; main.py has the table of them and imports only the one that is asked for. Read next:
main.py, then run.py, which is the longest way through the client.

The postponement stands here because it must come before the first import of click.
"""

from minidock.cli.deferred import postpone

postpone("inspect", "uuid")
