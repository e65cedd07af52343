"""The classic builder: a Dockerfile's steps, each an image; RUN in containers, COPY and ADD into detached overlays.

``builds.py`` is the verb, ``stages.py`` the steps, ``run.py`` and ``copy.py`` how two kinds of them are done. What a
Dockerfile says is read in ../../build. Read next: builds.py; docs/build.md.
"""
