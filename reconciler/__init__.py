"""Makes the containers on a machine be what a YAML file says they are."""

__version__ = "0.1.0"
