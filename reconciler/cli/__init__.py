"""The command line: a thin argparse shell over `loop` and the runtimes' ports; one module a verb in `verbs`.

Nobody imports this but the console script and tests.
"""
