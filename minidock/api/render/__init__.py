"""From the engine's records to Docker's JSON: key names, their order, and what is null, empty or left out.

Go clients read a missing key as zero, Python clients raise KeyError, and both break on a map where a list should be; so
the shapes here follow recordings of dockerd 26.1 key by key. See: Docker Engine API 1.45.
"""
