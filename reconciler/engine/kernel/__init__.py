"""Every effect on the machine: files, mounts, namespaces, netlink, nftables, cgroups, processes, store commits.

One place to trace, to time, to fake and to crash. Each function decorated with `effects.effect` makes one state-changing
system call (or starts one process); composites are made of these. Nothing here knows what a container is.
"""
