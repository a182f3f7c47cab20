"""Which values are hidden, and how what holds them is shown."""

import pytest

from reconciler.kits.masking import MASK, looks_secret, masked, masked_line, masked_words


@pytest.mark.parametrize(
    "name",
    [
        "MYSQL_ROOT_PASSWORD",
        "PGPASSWORD",
        "api-key",
        "AUTH_TOKEN",
        "dbPass",
        "AWS_ACCESS_KEY_ID",
        "WORDPRESS_AUTH_KEY",
        "NONCE_SALT",
        "SENTRY_DSN",
        "clientSecret",
        "traefik.http.basicauth.passwd",
        "dbPassword",
        "apiKey",
        "KEY",
        "x-api-key",
        "MYSQL_PWD",
        "AWS_SECRET_ACCESS_KEY",
        "PRIVATE_KEY",
        "token",
        "GITHUB_CREDENTIALS",
        "RANDOM_PASSWORD_1",
        "PASSWORDHASH",
    ],
)
def test_a_secret_is_told_by_its_name(name):
    assert looks_secret(name)
    assert masked(name, "x") == MASK
    assert masked(name, "") == ""


@pytest.mark.parametrize(
    "name",
    [
        "MYSQL_DATABASE",
        "PASSWORD_FILE",
        "SECRET_PATH",
        "PUBLIC_KEY",
        "SORT_KEY",
        "COMPASS",
        "AUTHOR",
        "monkey",
        "KEYBOARD",
        "PWD",
        "OLDPWD",
        "OLD_PWD",
        "TOKENIZER",
        "SECRETARY",
        "TOKEN_TTL",
        "AUTH_URL",
        "MYSQL_ROOT_PASSWORD_FILE",
        "PATH",
        "BYPASS",
        "API",
        "A",
        "_",
        "",
    ],
)
def test_other_names_are_shown(name):
    assert not looks_secret(name)
    assert masked(name, "x") == "x"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgres://u:p@db/x", "postgres://u:***@db/x"),
        ("amqp://:p@a,amqp://:q@b", "amqp://:***@a,amqp://:***@b"),
        ("http://example.org:80/a@b", "http://example.org:80/a@b"),
        ("mail to a:b@c", "mail to a:b@c"),
    ],
)
def test_a_password_in_an_address_is_hidden_wherever_it_stands(value, shown):
    assert masked("URL", value) == shown


def test_a_command_is_shown_without_the_secrets_among_its_words():
    words = [
        "run",
        "--password",
        "a=b",
        "--api-key=abc",
        "TOKEN=x=y",
        "--user",
        "me",
        "--password-file",
        "/p",
        "ftp://u:p@h",
    ]
    shown = [
        "run",
        "--password",
        "***",
        "--api-key=***",
        "TOKEN=***",
        "--user",
        "me",
        "--password-file",
        "/p",
        "ftp://u:***@h",
    ]
    assert masked_words(words) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  DB_PASSWORD: hunter2", "  DB_PASSWORD: ***"),
        ("{DB_PASSWORD: hunter2, USER: me}", "{DB_PASSWORD: ***, USER: me}"),
        ("{DB_PASSWORD: 'a, b', USER: me}", "{DB_PASSWORD: ***, USER: me}"),
        ("- DB_PASSWORD=hunter2, still", "- DB_PASSWORD=***"),
        ('"apiKey": "x" # y', '"apiKey": *** # y'),
        ("DB_PASSWORD:", "DB_PASSWORD:"),
        ("USER: me", "USER: me"),
        ("URL: http://u:p@h, TOKEN: x", "URL: http://u:***@h, TOKEN: ***"),
    ],
)
def test_lines_are_shown_without_their_secrets(line, shown):
    assert masked_line(line) == shown
