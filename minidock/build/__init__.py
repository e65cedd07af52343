"""Dockerfiles as data: lines, words and variables, instructions, stages, and what they make of an image's config.

Pure: text in, values out; nothing here reads a file or starts a process. Serves image/imports.py (``--change``) and the
engine's builder. Read next: lines.py, words.py, instructions.py, stages.py, settings.py; then
../engine/building/builds.py.
"""
