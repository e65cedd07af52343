"""Networks: what lies between a container's eth0 and the world.

``bridge.py`` is the default network and its verbs, ``sandbox.py`` makes a container's network namespace, ``leases.py``
hands out addresses, ``firewall.py`` writes the nft rules, ``netlink.py`` speaks to the kernel, ``etc.py`` writes the
container's hosts and resolv.conf. Only ``netlink.py`` imports pyroute2 (0.2 s); ``sandbox.py`` and ``etc.py``, which
``--network none`` and ``host`` need, do without.
"""
