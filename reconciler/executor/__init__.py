"""Carries a plan out: order, parallelism, progress, cancel. Decides nothing. `loop` and `cli` may import it."""
