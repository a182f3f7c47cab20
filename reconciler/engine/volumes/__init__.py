"""Volumes: named and anonymous folders under the root, copy-up, host folders. Other rooms of the engine may import it."""
