"""Secrets in files: the first API key and the passwords of docker-compose.yml, made at random on the first start."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from service.registry import accounts
from service.registry.session import Database

DATABASE, USER = "stagewise", "stagewise"


def ensure_key(database: Database, file: Path) -> None:
    """Make an admin key and write it to `file` (0600), unless a valid one is there. Two at once make one key."""
    with database.unit_of_work() as session:
        account = accounts.ensure_account(session)
        session.refresh(account, with_for_update=True)
        parts = accounts.split_key(file.read_text().strip()) if file.exists() else None
        known = accounts.find_key(session, parts.public) if parts else None
        if parts and known and hmac.compare_digest(known.secret_sha256, parts.secret_sha256):
            return
        text = accounts.create_key(session, account, "made at the first start", accounts.SCOPES)
        write(file, text, 0o600)


def write_compose_secrets(folder: Path) -> None:
    """Write `app/` (two URLs), `postgres/` (the password) and `redis/` (the access list): a folder per reader.

    A URL is written after the secret in it, so once it is there, both are, and both stay. The two servers run as users
    of their own images, so their files are world-readable; only these servers mount their volumes.
    """
    app, postgres, redis = folder / "app", folder / "postgres", folder / "redis"
    if not (app / "database-url").exists():
        password = secrets.token_hex(32)
        write(postgres / "password", password, 0o444)
        write(app / "database-url", f"postgresql://{USER}:{password}@postgres:5432/{DATABASE}", 0o400)
    if not (app / "broker-url").exists():
        password = secrets.token_hex(32)
        write(redis / "users.acl", access_list(password), 0o444)
        write(app / "broker-url", f"redis://{USER}:{password}@redis:6379/0", 0o400)


def access_list(password: str) -> str:
    """Redis users: our user may not administer the server; other users may only ping it."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user default on nopass nocommands +ping\nuser {USER} on #{digest} ~* &* +@all -@admin"


def write(file: Path, text: str, mode: int) -> None:
    """Write a line to a file atomically: a crash leaves the old file or the new one. It is private until then."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(f"{text}\n")
        output.flush()
        os.fsync(output.fileno())
    temporary.chmod(mode)
    temporary.replace(file)
