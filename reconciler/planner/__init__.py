"""(desired, observed) -> plan. Pure: no I/O, clock, randomness, log or prompt. May import only `model` and `kits`."""
