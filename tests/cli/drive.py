"""The command line over a simulated machine, as a process of its own: python drive.py [ARGUMENT...].

HOLD="start container web" makes that action say "holding" on standard error and go on once the run is cancelled;
with HOLD_ON=1 it never goes on, with HOLD_GIVES_UP=1 it then gives up as a runtime does. With WORLD=FILE the states
of the containers are written to that file at the end; SLOW=SECONDS is what every step takes. The machine has images "app" and "base" and, on request, EXITS="web=3" as a job that
ends at once.
"""

import faulthandler
import os
import signal
import sys
import threading

from reconciler.cli.main import main
from reconciler.runtimes.base import Cancelled
from reconciler.runtimes.simulated.runtime import Simulated


class Holding(Simulated):
    def perform(self, action, context):
        if f"{action.verb} {action.subject}" == os.environ.get("HOLD"):
            sys.stderr.write("holding\n")
            sys.stderr.flush()
            if os.environ.get("HOLD_ON"):
                threading.Event().wait()
            while not context.cancelled():
                threading.Event().wait(0.01)
            if os.environ.get("HOLD_GIVES_UP"):
                raise Cancelled
        if slow := os.environ.get("SLOW"):
            threading.Event().wait(float(slow))
        return super().perform(action, context)


if __name__ == "__main__":
    # As from a terminal: what runs in a script's background, a test run too, is started with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.dump_traceback_later(60, exit=True)  # a test whose subject hangs shall fail
    machine = Holding(["app", "base"])
    machine.jobs.update({k: int(v) for k, _, v in (p.partition("=") for p in os.environ.get("EXITS", "").split())})
    code = main(sys.argv[1:], machine)
    if world := os.environ.get("WORLD"):
        with open(world, "w", encoding="utf-8") as file:
            file.write("\n".join(sorted(f"{c.key}={c.state}" for c in machine.world.containers.values())))
    sys.exit(code)
