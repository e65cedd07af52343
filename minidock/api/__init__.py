"""The daemon's HTTP server: a subset of the Docker Engine API, on plain sockets, with asyncio and h11.

One request's way through the modules: ``server`` accepts a socket, ``connection`` reads a request from it, ``router``
finds its handler in the one table of routes, the handler asks the engine, ``render/`` turns what comes back into
Docker's JSON, ``response`` writes it, and ``errors`` says what to answer when something was raised. The handlers, by
noun: ``containers`` (with ``ps``), ``archives``, ``streams`` (with ``hijack``, ``websocket``), ``execs``, ``stats``,
``images``, ``distribution`` (with ``auth``, ``progress``), ``build``, ``networks``, ``volumes``, ``upkeep``,
``system``, ``extensions``. What a client sends is read by ``request``, ``body`` and ``filters``; ``listen`` and ``tls``
are about how it gets here.

The rules that clients depend on are Docker's and are named where they are kept. Read next: ``router.py``.
"""
