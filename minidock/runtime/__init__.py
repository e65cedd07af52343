"""From "what to run" to a process: ``spec.py`` says it in OCI's words, ``plan.py`` turns it into kernel steps, and the
monitor (``monitor.py`` here, ``csrc/`` there) carries them out.
"""
