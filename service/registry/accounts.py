"""Accounts and their API keys `sw_<public>_<secret>`. Of a secret only its SHA-256 is stored."""

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.registry.session import insert_ignoring
from service.registry.tables import Account, ApiKey, utc_now

SCOPES = ("read", "train", "predict", "metrics", "admin")
DEFAULT_ACCOUNT = "default"
_KEY = re.compile(r"sw_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class KeyParts:
    """A key as the caller wrote it: the public part, and the digest of the secret."""

    public: str
    secret_sha256: str


def split_key(text: str) -> KeyParts | None:
    """The parts of a well-formed key, else None."""
    match = _KEY.fullmatch(text)
    return KeyParts(match[1], _digest(match[2])) if match else None


def ensure_account(session: Session, name: str = DEFAULT_ACCOUNT) -> Account:
    """The account of that name, made if there is none."""
    account = session.scalar(select(Account).where(Account.name == name))
    if account is None:
        session.execute(insert_ignoring(session, Account).values(name=name))  # a concurrent request may insert it first
        account = session.scalars(select(Account).where(Account.name == name)).one()
    return account


def create_key(session: Session, account: Account, name: str, scopes: Sequence[str]) -> str:
    """Make a key and return its full text, which is not stored. Raises ValueError for an unknown scope."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise ValueError(f"scopes are some of {', '.join(SCOPES)}, not {sorted(unknown) or 'none'}")
    public, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    ordered = [scope for scope in SCOPES if scope in scopes]
    key = ApiKey(account_id=account.id, public=public, secret_sha256=_digest(secret), name=name, scopes=ordered)
    session.add(key)
    session.flush()
    return f"sw_{public}_{secret}"


def find_key(session: Session, public: str) -> ApiKey | None:
    """The key with that public part, unless it is revoked."""
    return session.scalar(select(ApiKey).where(ApiKey.public == public, ApiKey.revoked_at.is_(None)))


def find_keys(session: Session, publics: Collection[str]) -> dict[str, ApiKey]:
    """The keys with these public parts that are not revoked."""
    keys = select(ApiKey).where(ApiKey.public.in_(publics), ApiKey.revoked_at.is_(None))
    return {key.public: key for key in session.scalars(keys)}


def list_keys(session: Session) -> list[tuple[ApiKey, str]]:
    """All keys with the names of their accounts, oldest first; revoked ones too."""
    keys = select(ApiKey, Account.name).join(Account, Account.id == ApiKey.account_id)
    return list(session.execute(keys.order_by(ApiKey.created_at, ApiKey.id)).tuples())


def revoke_key(session: Session, public: str) -> None:
    """Revoke a key; a running API notices within a minute. Raises NotFound."""
    revoked = update(ApiKey).where(ApiKey.public == public, ApiKey.revoked_at.is_(None)).values(revoked_at=utc_now())
    if session.execute(revoked).rowcount == 0:  # type: ignore[attr-defined]
        raise NotFound("key_not_found", f"There is no valid key with the public part {public}.")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
