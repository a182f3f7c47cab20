"""The embedded container engine: images, containers, networks, volumes on this machine, without a daemon.

One facade, `engine.facade.Engine`; it knows nothing of specs or plans. May import only `kits`; only
`runtimes.embedded` may import it (and `state` its `kernel`, the floor that all effects stand on).
"""
