"""Tests of examples/images: its scripts are modules beside each other, as when build.py runs."""

import os
import sys

IMAGES = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "images")
sys.path.insert(0, os.path.realpath(IMAGES))
