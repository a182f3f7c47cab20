"""Health checks: what is checked (`check`), what comes of a probe (`verdict`), where that is kept (`journal`), how a probe is

run (`probe`), and the process that does it for all containers of a pair of roots (`prober`).
"""
