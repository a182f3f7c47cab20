"""Run by test_seam_strace: a container's life by the real command line, with a watcher that counts successful effects.

python scenario.py OUT SPEC
"""

from __future__ import annotations

import collections
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from reconciler.cli.main import main
from reconciler.engine.kernel import effects


class Counter:
    def __init__(self):
        self.counts = collections.Counter()

    def before(self, name, _arguments):
        pass

    def after(self, name, _arguments):
        self.counts[name] += 1


out, spec = sys.argv[1:]
counter = Counter()
effects.watch(counter)
for line in (["apply", spec], ["stop", "db"], ["start", "db"], ["down", "--volumes", "--yes", spec]):
    code = main(line)
    assert code == 0, (line, code)
effects.watch(None)
sys.stdout.write(json.dumps(counter.counts) + "\n")
with open(out, "w", encoding="utf-8") as file:
    json.dump(counter.counts, file)
