"""(desired, observed, options, capabilities) -> plan. Pure: no I/O, clock, randomness, log or prompt.

    planning.py   plan, plan_down: the way through the modules below
    scope.py      what a runtime must look at so that a stack can be planned
    renames.py    what is renamed first, by moved and adopt, and the world as it is then
    changes.py    settings compared field by field; what a change takes
    decisions.py  what happens to each container: in sync, started, updated, replaced, removed; what follows a link
    checks.py     what can't be planned: names, owners
    volumes.py    which volumes are made or changed in place, and what is in the way, also of deleting them
    images.py     what is pulled and why, and names that stand for another image now
    pulling.py    a plan taken apart: first the pulls, then what is found to be left
    graph.py      who uses whom, and orders over that
    data.py       what happens to data, in words
    steps.py      decisions -> actions in an order
    text.py, document.py   a plan for a person, and as JSON

For `executor`, `loop` and `cli`; imports the model and the kits.
"""
