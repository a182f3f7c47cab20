"""What must not be shown: masking of values that are or look like secrets."""
