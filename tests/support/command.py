"""The command line under the audit hook: `python command.py REPORT ARGUMENT...`. Findings are appended to REPORT."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(sys.path[0]))

from support import audit

audit.install()

from reconciler.cli.main import whole_run  # noqa: E402

report = sys.argv.pop(1)
sys.argv[0] = "reconciler"
try:
    sys.exit(whole_run())
finally:
    if audit.found:
        with open(report, "a", encoding="utf-8") as file:
            file.write("\n".join(audit.found))
