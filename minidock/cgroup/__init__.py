"""Control groups, version 2 only: one directory a container, in which the kernel counts, limits, freezes and kills.

``find.py`` looks for the tree, ``tree.py`` is the verbs (create, kill, freeze, remove …), ``limits.py`` turns Docker's
options into files and values, ``stats.py`` reads what was used. Everything here blocks for microseconds, except the
waits that say so. See: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
"""
