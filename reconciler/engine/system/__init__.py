"""What this machine is and what it lacks: for `system info` and `system check`. Looks and tries; leaves nothing behind."""
