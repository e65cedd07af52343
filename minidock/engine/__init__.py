"""The daemon's heart: containers and their life. ``engine.py`` lists what can be asked; of how, each module has a part.

    what a container is  config (as asked for), model (as resolved; its states), codec (↔ JSON), requests (for the API)
    made of              parts, settings, containers (index and rows), volumes, events, trash, recent, cancellation
    create               create, mounts, volume_options, sources, copyup, namespaces, remap, rights, users, throttles;
                         meaningless
    start, end, remove   lifecycle, bundle (→ runtime/spec.py), reports, stops, pausing, waits, restarts, updates
    beside its process   attach, replay, logs, execs, health, probes, top, statistics
    its files            roots, archives, changes, commits
    networks, builds     networking/, building/
    images               distribution
    the daemon           restore (its start), leftovers, housekeeping, info

Everything here runs on the daemon's event loop; what blocks for more than a moment is sent to a thread. Read in the
order model, engine, lifecycle, bundle; then docs/life-of-a-container.md and restore.
"""
