"""Carries a plan out: order, parallelism, progress, cancel, undo. Decides nothing that the plan's data does not say.

    schedule.py   pure: a plan and what has happened so far -> what may begin now, what is skipped, what is undone
    report.py     what a run tells its caller: the `Reporter` protocol and the `Result`
    threads.py    the driver for real runtimes: a pool of threads
    virtual.py    the driver for simulated ones: one thread, a seeded order of completions, a virtual clock

For `loop` and `cli`; imports the model, the kits and the runtimes' port.
"""
