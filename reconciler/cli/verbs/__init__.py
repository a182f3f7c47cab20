"""One module a verb, imported when that verb is called.

Each has `add_arguments(parser)`, which declares its command line, and `run(options, shell)`, which does the work and
returns the exit code. Verbs talk to `loop`, `state` and the runtime's ports; none imports another one.
"""
