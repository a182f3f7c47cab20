"""Runs many scenarios of the simulator, a process a core, and prints what was tried and what was found.

python tests/simulated/torture.py [--seconds 600] [--start 0]      long, from this seed on
python tests/simulated/torture.py --seed N                         one scenario again
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
import traceback
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from chance import Seeded
from simulator import Scenario

SHARE = 50
"""Scenarios that a process takes at once."""
ENOUGH = 500


class Tally:
    """What came out of some scenarios; tallies add up."""

    def __init__(self):
        self.runs = self.faulty = 0
        self.actions, self.struck, self.kinds, self.sizes = Counter(), Counter(), Counter(), Counter()
        self.failed = {}

    def take(self, seed):
        self.runs += 1
        try:
            made = Scenario(Seeded(seed))
        except Exception:  # a scenario that breaks off is a finding, too
            self.failed[seed] = [("broken off", traceback.format_exc())]
            return
        self.faulty += bool(made.struck)
        self.actions += made.actions
        self.struck += made.struck
        self.kinds += made.kinds
        self.sizes.update(made.sizes)
        if made.violations:
            self.failed[seed] = made.violations

    def add(self, other):
        self.runs += other.runs
        self.faulty += other.faulty
        for name in ("actions", "struck", "kinds", "sizes"):
            getattr(self, name).update(getattr(other, name))
        self.failed |= other.failed

    def lines(self):
        yield f"scenarios: {self.runs}, with faults: {self.faulty}, failed: {len(self.failed)}"
        yield f"median stack: {statistics.median(self.sizes.elements()):g} containers"
        for title, counter in (("actions", self.actions), ("faults", self.struck), ("episodes", self.kinds)):
            yield f"{title}: " + ", ".join(f"{name} {count}" for name, count in counter.most_common())
        for seed, found in sorted(self.failed.items())[:20]:
            yield f"seed {seed}: {found[0][0]}: {found[0][1]}"
            yield f"  again: python tests/simulated/torture.py --seed {seed}"


def share(start):
    tally = Tally()
    for seed in range(start, start + SHARE):
        tally.take(seed)
    return tally


def run(seconds, start):
    whole, begun, cores = Tally(), time.monotonic(), os.cpu_count()
    with multiprocessing.Pool(cores) as pool:
        while time.monotonic() < begun + seconds:
            starts = range(start, start + 4 * cores * SHARE, SHARE)
            for tally in pool.imap_unordered(share, starts):
                whole.add(tally)
            start = starts.stop
    return whole, time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    if given.seed is not None:
        whole = Tally()
        whole.take(given.seed)
        for oracle, text in whole.failed.get(given.seed, ()):
            print(f"{oracle}: {text}")
    else:
        whole, took = run(given.seconds, given.start)
        print(f"{took:.0f} s on {os.cpu_count()} processors")
    print("\n".join(whole.lines()))
    few = [name for counter in (whole.actions, whole.struck) for name, count in counter.items() if count < ENOUGH]
    if given.seed is None and few:
        print(f"fewer than {ENOUGH} times: {', '.join(few)}")
    return 1 if whole.failed else 0


if __name__ == "__main__":
    sys.exit(main())
