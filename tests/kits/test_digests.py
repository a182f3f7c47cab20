"""The interpreter's own SHA-256 is SHA-256, and OpenSSL is not loaded for it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from reconciler.kits.digests import sha256


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(256)) * 1000], ids=["empty", "short", "long"])
def test_it_is_sha256(data):
    assert sha256(data).hexdigest() == hashlib.sha256(data).hexdigest()


def test_openssl_is_not_loaded_and_not_missed_where_there_is_nothing_else():
    code = (
        "import sys\n"
        "from reconciler.kits import digests\n"
        "assert '_hashlib' not in sys.modules\n"
        "del sys.modules['reconciler.kits.digests']\n"
        "sys.modules['_sha256'] = sys.modules['_sha2'] = None\n"
        "from reconciler.kits.digests import sha256\n"
        "assert sha256(b'abc').hexdigest().startswith('ba7816bf')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
