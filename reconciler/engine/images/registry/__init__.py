"""Registries: images fetched over the OCI distribution protocol. Loaded when something is pulled or logged in.

Not for what an image is once it is here (`images.layers`, `images.catalog`), which this room hands over to.
"""
