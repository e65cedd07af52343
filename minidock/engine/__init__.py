"""The daemon's heart: containers and their life.

``model.py`` says what a container is, ``engine.py`` lists what can be done with one, and the other modules each hold
one part of how; ``networking`` and ``building`` are the larger of those parts. Everything here runs on the daemon's
event loop; what blocks for more than a moment is sent to a thread.
"""
