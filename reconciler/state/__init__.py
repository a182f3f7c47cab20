"""What outlives a run above any runtime: stack locks, the cache of resolved specs."""
