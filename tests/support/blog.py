"""A visitor and author of a WordPress blog, over HTTP: installs it, logs in, publishes a post with an upload, reads both.

For tests of real containers and for the demo's own check; knows nothing of engines. Waits for conditions, never for time.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LIMIT = 120.0  # seconds for a first start on a busy machine: five on a quiet one
REQUEST = 60.0  # seconds for one request
PAUSE = 0.1


@dataclass(frozen=True)
class Answer:
    """What came back: status, final URL, decoded headers, body."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Published:
    """Ids of a post and of the file that was uploaded with it."""

    post: int
    media: int
    media_url: str


class Blog:
    """One WordPress at `base_url`, and one visitor of it with a cookie jar of its own."""

    def __init__(self, base_url: str, *, user: str = "admin", password: str = "correct horse") -> None:
        self.base_url = base_url.rstrip("/")
        self.user = user
        self.password = password
        # Straight to the host: no proxy of the environment.
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)
        self._nonce = ""

    def __repr__(self) -> str:
        return f"Blog({self.base_url!r})"

    # What a person does

    def wait(self, limit: float = LIMIT) -> Answer:
        """The front page, or the installation's, as soon as WordPress reaches its database."""
        return self._until(lambda: self.get("/"), lambda answer: answer.status == 200, limit)

    def install(self, title: str = "Reconciled", *, limit: float = LIMIT) -> None:
        """Goes through the installation page; does nothing on a blog that is installed."""
        page = self._until(
            lambda: self.get("/wp-admin/install.php"),
            lambda answer: (answer.status == 200 and "<form" in answer.text) or "Already Installed" in answer.text,
            limit,
        )
        if "Already Installed" in page.text:
            return
        form = {
            "weblog_title": title,
            "user_name": self.user,
            "admin_password": self.password,
            "admin_password2": self.password,
            "pw_weak": "on",
            "admin_email": "admin@example.com",
            "blog_public": "0",
            "language": "",
            "Submit": "Install WordPress",
        }
        done = self.post("/wp-admin/install.php?step=2", form)
        _expect(done, done.status == 200 and "Success!" in done.text, "the installation did not succeed")

    def login(self) -> None:
        """Logs in and takes the token that the REST API asks for."""
        self.get("/wp-login.php")  # sets the cookie that the form checks
        form = {"log": self.user, "pwd": self.password, "wp-submit": "Log In", "testcookie": "1"}
        answer = self.post("/wp-login.php", form)
        _expect(answer, answer.status == 200 and "login_error" not in answer.text, "the log-in was refused")
        nonce = self.get("/wp-admin/admin-ajax.php?action=rest-nonce")
        _expect(
            nonce,
            nonce.status == 200 and re.fullmatch(r"[0-9a-f]{10}", nonce.text) is not None,
            "no token for the REST API",
        )
        self._nonce = nonce.text

    def publish(self, title: str, content: str, upload: bytes, *, file_name: str = "upload.png") -> Published:
        """Uploads a file and publishes a post that shows it."""
        kind = "image/png" if file_name.endswith(".png") else "text/plain"
        headers = {"Content-Type": kind, "Content-Disposition": f'attachment; filename="{file_name}"'}
        media = self._rest("/wp/v2/media", upload, headers)
        _expect(media, media.status == 201, "the upload was refused")
        address = self._local(media.json()["source_url"])
        body = {"title": title, "content": content, "status": "publish", "featured_media": media.json()["id"]}
        post = self._rest("/wp/v2/posts", json.dumps(body).encode(), {"Content-Type": "application/json"})
        _expect(post, post.status == 201, "the post was refused")
        return Published(post.json()["id"], media.json()["id"], address)

    def read(self, post: int, *, limit: float = LIMIT) -> dict[str, Any]:
        """A post as visitors get it (REST: title.rendered, content.rendered ...), as soon as the blog answers."""
        path = f"/index.php?rest_route=/wp/v2/posts/{post}"
        answer = self._until(lambda: self.get(path), lambda answer: answer.status in (200, 401, 404), limit)
        _expect(answer, answer.status == 200, f"post {post} is not there")
        found: dict[str, Any] = answer.json()
        return found

    def media(self, url: str, *, limit: float = LIMIT) -> bytes:
        """An uploaded file's bytes; `url` as `publish` returned it, or with another host and port, or only a path."""
        parts = urllib.parse.urlsplit(url)
        answer = self._until(lambda: self.get(parts.path), lambda answer: answer.status in (200, 403, 404), limit)
        _expect(answer, answer.status == 200, f"{parts.path} is not there")
        return answer.body

    # One request

    def get(self, path: str) -> Answer:
        return self._send(urllib.request.Request(self.base_url + path))

    def post(self, path: str, form: Mapping[str, str]) -> Answer:
        return self._send(urllib.request.Request(self.base_url + path, data=urllib.parse.urlencode(form).encode()))

    def _rest(self, route: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        # By ?rest_route=: needs no rewriting, and is never redirected to the address that WordPress was installed at.
        url = f"{self.base_url}/index.php?rest_route={route}"
        return self._send(urllib.request.Request(url, data=body, headers={**headers, "X-WP-Nonce": self._nonce}))

    def _send(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=REQUEST) as answer:
                return Answer(answer.status, answer.url, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.url or request.full_url, dict(error.headers), error.read())

    def _local(self, url: str) -> str:
        """The URL at our address: WordPress writes the one that it was installed at, and host ports change."""
        return self.base_url + urllib.parse.urlsplit(url).path

    def _until(self, ask: Callable[[], Answer], good: Callable[[Answer], bool], limit: float) -> Answer:
        """Asks until the answer is good; after `limit` seconds raises with the last answer or error."""
        end = time.monotonic() + limit
        while True:
            last: Answer | Exception
            try:
                last = ask()
                if good(last):
                    return last
            except (OSError, http.client.HTTPException) as error:  # nobody listens yet, or the server went away
                last = error
            if time.monotonic() > end:
                shown = f"{last.status} from {last.url}: {_title(last)}" if isinstance(last, Answer) else repr(last)
                raise TimeoutError(f"{self.base_url} was not ready within {limit:.0f} s; the last answer was {shown}")
            time.sleep(PAUSE)


def _title(answer: Answer) -> str:
    found = re.search(r"<title>(.*?)</title>", answer.text, re.DOTALL)
    return found[1].strip() if found else answer.text[:200]


def _expect(answer: Answer, condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(f"{message}: {answer.status} from {answer.url}: {_title(answer)}")
