"""Images: what they are called, where they come from, and how their layers become directories.

Read in this order: ``model`` (an image as data), ``reference`` and ``digest`` (names), ``store`` (the verbs, the part's
face to the engine), ``pull`` with ``registry`` (over the network), ``archive`` (from a file), ``layers`` and ``unpack``
(a tar of someone else's, put on disk). Nothing that comes in is trusted: docs say "verify, then rename into place".
"""
