"""Networks: what lies between a container's eth0 and the world.

``bridge.py`` is the default network and its verbs; it makes a network namespace for a container with ``sandbox.py``
and plugs it in with ``veth.py``, ``leases.py`` hands out addresses, ``firewall.py`` writes the nft rules, ``etc.py``
writes the container's hosts and resolv.conf; ``ready.py`` holds some namespaces ready. ``user.py`` is a network that
a user made, ``lan.py`` one beside the host, ``pools.py`` finds subnets for them, ``resolver.py`` answers for the
names there by the messages of ``dns.py``. ``ports.py`` publishes ports, ``relay.py`` does where the kernel can't.
``sandbox.py`` and ``etc.py``, which ``--network none`` and ``host`` need, do without pyroute2.
"""
