"""A runtime in memory: complete, deterministic, and with faults on demand. It ships, so that users test their specs.

    world.py    the state: containers, volumes, images, who has which port
    faults.py   what shall go wrong: failures and crashes, by action or by effect
    drift.py    what happens by itself or by other hands, when a test says so
    runtime.py  `Simulated`, the runtime; each action is one or more effects, between which a crash may fall
    oracle.py   what must be true of such a world, whoever made it so

It is as strict as a real machine, or stricter: a link to what does not run, a name or a port that is taken, an update
it can't do are errors. For tests and for `cli`; imports the model and the kits.
"""
