"""HTTP to registries: one request, one answer; connections that are kept, TLS, proxies, time-outs and redirects.

By the standard library's http.client: a third of the start-up time of a package, and it reads straight into our buffers
(docs/dependencies.md has the figures). It knows nothing of registries, and retries nothing: `client` does. Only this
room may import it.
"""

from __future__ import annotations

import contextlib
import glob
import http.client
import os
import re
import ssl
import threading
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

from reconciler import __version__
from reconciler.engine.images.registry import proxies
from reconciler.engine.kernel import sockets
from reconciler.kits.text import printable, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.engine.images.registry.watching import Watch
    from reconciler.kits.configuration import Configuration

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[^\x00-\x20\x7f]+")
"""What http.client takes for a host."""

_RENEW = "whoever runs it has to renew it, unless this machine's clock is wrong (see `date`)"
_NAMES = "use a name that it was issued for, or have one issued for this name"
_DISTRUST = {9: _RENEW, 10: _RENEW, 62: _NAMES, 64: _NAMES}
"""What to do about a certificate, by the code of OpenSSL's x509_vfy.h; about others: trust who signed it."""
_REFUSALS = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA")
"""Alerts of a server that wants a certificate of its client and has none, or not one of its liking."""


class WireError(Exception):
    """A request came to nothing, for a reason that is told in `str()`.

    `passing`: the next try may do better. `tls`: the other side does not speak it. `away`: there was no connection,
    or nothing came in answer. `hint`: what to do about it, where that is known here.
    """

    def __init__(
        self, text: str, *, passing: bool = True, tls: bool = False, away: bool = False, hint: str = ""
    ) -> None:
        super().__init__(text)
        self.hint = hint
        self.passing = passing
        self.tls = tls
        self.away = away


class Site(NamedTuple):
    """Whom a connection leads to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Site:
        """Raises WireError for what is no address of a web server."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise WireError(f"{quote(url, 200)} is not an address", passing=False) from None
        if parts.scheme not in _PORTS or not parts.hostname or not _HOST.fullmatch(parts.hostname):
            raise WireError(f"{quote(url, 200)} is not an address of HTTP", passing=False)
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        return printable(self.address)

    @property
    def address(self) -> str:
        """Host and port as the header Host has them: without a port that goes without saying."""
        return self.bracketed if self.port == _PORTS[self.scheme] else f"{self.bracketed}:{self.port}"

    @property
    def bracketed(self) -> str:
        """The host as it stands before a port."""
        return f"[{self.host}]" if ":" in self.host else self.host


class Answer:
    """An answer whose body is still to be read. Close it: its connection is used again if all was read."""

    def __init__(self, wire: Wire, connection: _Connection, response: http.client.HTTPResponse, url: str) -> None:
        self._wire, self._connection, self._response = wire, connection, response
        self._left = response.length
        self.url = url
        self.status = response.status

    def header(self, name: str) -> str:
        """A header's value, "" if there is none."""
        return self._response.headers.get(name) or ""

    def headers(self, name: str) -> list[str]:
        """All values of a header."""
        return self._response.headers.get_all(name) or []

    @property
    def length(self) -> int | None:
        """Bytes of the body that are still to come, None where the other side does not say."""
        return self._left

    def readinto(self, buffer: memoryview) -> int:
        """Read what there is of the body, waiting for a first byte; 0 at its end, be it early or not."""
        with self._wire.explained(self._connection.site):
            if self._left is None:
                data = self._response.read1(len(buffer))
                buffer[: len(data)] = data
                return len(data)
            if not self._left:
                return 0
            # Not the response's own readinto: it waits until the buffer is full, and what it has is lost with the connection.
            count = self._response.fp.readinto1(buffer[: self._left])
            self._left -= count
            return count

    def read(self, limit: int) -> bytes:
        """All of the body; WireError for more than `limit` bytes."""
        with self._wire.explained(self._connection.site):
            data = self._response.read(limit + 1)
            expected = self._left = self._response.length
        if len(data) > limit:
            raise WireError(f"{self._connection.site} sends more than {limit} bytes, which is too much", passing=False)
        if expected:
            raise WireError(f"{self._connection.site} closed the connection in the middle of its answer")
        return data

    def close(self) -> None:
        if self._left == 0:
            self._response.length = 0
            self._response.read()  # nothing, and the response knows that it is over
        whole = self._response.isclosed()
        self._response.close()
        self._wire.give_back(self._connection, reusable=whole and not self._response.will_close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Connection(http.client.HTTPConnection):
    """A connection to a site, perhaps through a proxy."""

    def __init__(self, wire: Wire, site: Site, proxy: proxies.Proxy | None) -> None:
        super().__init__(proxy.host if proxy else site.host, proxy.port if proxy else site.port)
        self.site = site
        self._wire = wire
        self._proxy = proxy

    def connect(self) -> None:
        """To the site, by TLS where it says so. Overrides what http.client calls when it first needs a connection."""
        wire, secure = self._wire, self.site.scheme == "https"
        limit = wire.pull.connect_timeout
        try:
            made = sockets.connect(self.host, self.port, limit)
        except TimeoutError:
            raise WireError(f"{self._proxy or self.site} does not answer within {limit:.3g} s", away=True) from None
        try:
            if secure:
                if self._proxy:
                    self._tunnel_through(made, self._proxy)
                made = wire.context(self.site).wrap_socket(
                    made, server_hostname=self.site.host, do_handshake_on_connect=False
                )
            wire.watch.guard(made)
            if isinstance(made, ssl.SSLSocket):
                made.do_handshake()
            made.settimeout(wire.pull.idle_timeout)
        except BaseException:
            wire.watch.release(made)
            made.close()
            raise
        self.sock = made

    def _tunnel_through(self, made: sockets.Connection, proxy: proxies.Proxy) -> None:
        target = f"{self.site.bracketed}:{self.site.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"Proxy-Authorization: {proxy.authorization}"] if proxy.authorization else []
        made.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        response = http.client.HTTPResponse(made, method="CONNECT")
        try:
            response.begin()
        finally:
            response.close()
        if response.status != 200:
            raise WireError(
                f"the proxy {proxy} refuses a connection to {self.site}: {response.status} {printable(response.reason)}",
                passing=response.status >= 500,
            )

    def close(self) -> None:
        if self.sock is not None:
            self._wire.watch.release(self.sock)
        super().close()


class Wire:
    """All connections of one pull or login; safe to use from several threads."""

    def __init__(self, configuration: Configuration, watch: Watch) -> None:
        self.configuration = configuration
        self.pull = configuration.pull
        self.watch = watch
        self._guard = threading.Lock()
        self._idle: dict[Site, list[_Connection]] = {}
        self._contexts: dict[tuple[str, int], ssl.SSLContext] = {}

    def close(self) -> None:
        """Close what is idle."""
        with self._guard:
            connections = [connection for idle in self._idle.values() for connection in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        most_redirects: int = _MOST_REDIRECTS,
    ) -> Answer:
        """Send a request and follow where it is redirected to; the header Authorization goes to `url`'s site only.

        Raises WireError; whatever the watch was stopped for.
        """
        first = Site.of(url)
        for _ in range(most_redirects + 1):
            site = Site.of(url)
            sent = dict(headers)
            if site != first:
                sent.pop("Authorization", None)
            answer = self._once(method, site, url, sent, body)
            if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return answer
            location = answer.header("Location")
            answer.close()
            if not location:
                raise WireError(f"{site} redirects to nowhere", passing=False)
            try:
                url = urljoin(url, location)
            except ValueError:
                raise WireError(f"{site} redirects to {quote(location, 200)}", passing=False) from None
            if site.scheme == "https" and Site.of(url).scheme != "https":
                raise WireError(f"{site} redirects from HTTPS to plain HTTP ({Site.of(url)})", passing=False)
        raise WireError(f"{first} redirects more than {most_redirects} times", passing=False)

    def _once(self, method: str, site: Site, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
        headers = {"User-Agent": f"reconciler/{__version__}", **headers}
        proxy = proxies.proxy_for(site.scheme, site.host, site.port)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if proxy and site.scheme == "http":
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
            if proxy.authorization:
                headers["Proxy-Authorization"] = proxy.authorization
        while True:
            connection, used = self._take(site, proxy)
            try:
                with self.explained(site, proxy):
                    connection.request(method, target, body, {"Host": site.address, **headers})
                    response = connection.getresponse()
                return Answer(self, connection, response, url)
            except WireError as error:
                connection.close()
                # A kept connection may have been closed by the other side at any time.
                if not (used and error.passing):
                    raise
            except BaseException:
                connection.close()
                raise

    def _take(self, site: Site, proxy: proxies.Proxy | None) -> tuple[_Connection, bool]:
        self.watch.check()
        with self._guard:
            idle = self._idle.get(site)
            if idle:
                return idle.pop(), True
        return _Connection(self, site, proxy), False

    def give_back(self, connection: _Connection, *, reusable: bool) -> None:
        if not reusable or connection.sock is None:
            connection.close()
            return
        with self._guard:
            self._idle.setdefault(connection.site, []).append(connection)

    @contextlib.contextmanager
    def explained(self, site: Site, proxy: proxies.Proxy | None = None) -> Iterator[None]:
        """What goes wrong with a connection, as a WireError that says it in words."""
        who = f"{site} (by the proxy {proxy})" if proxy else str(site)
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.watch.check()
            if isinstance(error, ssl.SSLError):
                raise _untrusting(error, who, os.path.join(self.configuration.certificates, str(site))) from error
            raise _explained(error, who, self) from error

    def context(self, site: Site) -> ssl.SSLContext:
        """The system's authorities, and for this host those and our own certificate in its folder of certs.d."""
        key = (site.host, site.port)
        with self._guard:
            if key not in self._contexts:
                self._contexts[key] = _context(self.configuration.certificates, site)
            return self._contexts[key]


def _context(certificates: str, site: Site) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for name in dict.fromkeys((site.address, f"{site.host}:{site.port}")):
        folder = os.path.join(certificates, name.replace("/", ""))
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*"))):
            try:
                if path.endswith(".crt"):
                    context.load_verify_locations(path)
                elif path.endswith(".cert"):
                    context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
            except (OSError, ssl.SSLError) as error:
                raise WireError(f"the certificate {path} can't be used: {error}", passing=False) from error
    return context


def _untrusting(error: ssl.SSLError, who: str, folder: str) -> WireError:
    """Why one side of TLS does not take the other for what it should be; `folder` holds this machine's certificates."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = _DISTRUST.get(error.verify_code, f"the authority that signed it goes to {folder}/ca.crt")
        text = f"the certificate of {who} is not trusted: {error.verify_message.rstrip('.')}"
        return WireError(text, passing=False, hint=hint)
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return WireError(f"{who} does not speak TLS", passing=False, tls=True)
    if error.reason in _REFUSALS:
        shown = glob.glob(os.path.join(glob.escape(folder), "*.cert"))
        text = "does not accept the certificate of this machine" if shown else "asks for a certificate of this machine"
        hint = f"one that it accepts goes to {folder}/client.cert, its key to client.key there"
        return WireError(f"{who} {text}", passing=False, hint=hint)
    return WireError(f"TLS with {who} failed: {printable(error.reason or str(error))}")


def _explained(error: Exception, who: str, wire: Wire) -> WireError:
    if isinstance(error, TimeoutError):
        return WireError(f"{who} does not answer within {wire.pull.idle_timeout:.3g} s", away=True)
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected):
        return WireError(f"{who} closed the connection in the middle of its answer")
    if isinstance(error, http.client.HTTPException):
        return WireError(f"{who} answers with what is not HTTP ({printable(str(error))[:100] or type(error).__name__})")
    if isinstance(error, OSError):
        away = not isinstance(error, ConnectionResetError | BrokenPipeError)
        return WireError(f"{who} can't be reached: {error.strerror or error}", away=away)
    return WireError(f"{who} answers with what can't be read ({printable(str(error))[:100]})", passing=False)
