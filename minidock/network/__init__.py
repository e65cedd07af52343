"""Networks: what lies between a container's eth0 and the world.

``bridge.py`` is the default network and its verbs; it makes a network namespace for a container with ``sandbox.py`` and
plugs it in with ``veth.py``, ``leases.py`` hands out addresses, ``firewall.py`` writes the nft rules, ``etc.py`` writes
the container's hosts and resolv.conf. ``sandbox.py`` and ``etc.py``, which ``--network none`` and ``host`` need, do
without pyroute2.
"""
