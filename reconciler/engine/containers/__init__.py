"""Containers: life cycle, OCI configuration, monitor, exec, logs, settle. Only the facade may import it."""
