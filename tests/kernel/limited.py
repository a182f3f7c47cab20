"""One limit of each kind that a control group holds."""

from reconciler.engine.records import ResourceConfig

MIB = 1 << 20
ONE_OF_EACH = ResourceConfig(
    memory=64 * MIB, memory_reservation=8 * MIB, memory_swap=96 * MIB, cpus=0.5, cpu_shares=512, cpuset="0", pids=40
)
