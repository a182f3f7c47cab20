"""SHA-256 of what is small: names, specs, rules.

`hashlib` loads OpenSSL, 2 ms of every start, to be quicker over megabytes; a few kilobytes the interpreter's own code
digests in microseconds. For images and layers use `hashlib`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["sha256"]

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha256 import sha256  # Python 3.11
    except ImportError:
        try:
            from _sha2 import sha256  # from 3.12 on
        except ImportError:  # an interpreter that was built to have OpenSSL's only
            from hashlib import sha256
