"""Small things without a better home: errors, positions, clocks, units, locks. Imports nothing of this project."""
