"""What a test machine may lack for good: the only skips that pass in strict mode (MINIDOCK_TEST_STRICT=1).

For conftest.py. An entry is a need by name, as needs.py has it, with the reason why no set-up step of ours could
supply it. Everything else that a test needs is for `make setup` to bring, so a skip for want of it is a failure.
"""

from __future__ import annotations

IMPOSSIBLE: dict[str, str] = {
    "apparmor": "AppArmor is built into the kernel and switched on at boot, or it is not",
    "compose_1": "Debian 12 and Ubuntu have it, the Debians after them have not",
    "compose_2": "Debian 12 has it not; it comes from the next Debian, which a machine may not reach",
    "docker_cli_20": "it comes from Debian 12, which a machine of another system may not reach",
    "docker_cli_28": "no Debian package has it, and what a machine may load from elsewhere is not ours to say",
    "fuse": "it is a module of the kernel, and its device may be withheld from a container",
    "hugepages": "memory set apart for them is the machine's own, and a test changes no machine",
    "hugetlb": "a kernel is built with it or not",
    "ipvlan": "as macvlan",
    "macvlan": "it is a module of the kernel, which no package that a test may install brings",
    "ipv6": "IPv6 is built into the kernel and not switched off at boot, or it is not there",
    "userns_remap": "a kernel and its file systems can shift ids or can't; and in a container, whose /proc has covered "
    "parts, the kernel gives a user namespace none of its own",
    "cap_sys_resource": "a sandbox may withhold CAP_SYS_RESOURCE even from root, and what is withheld cannot be taken",
}
