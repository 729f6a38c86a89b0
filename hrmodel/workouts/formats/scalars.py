"""Numbers and times as XML files of many makers write them."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone

MAX_NUMBER = 1000  # characters, with the blanks around it
DECIMAL_COMMA = re.compile(r"\s*([+-]?\d+)[,\u066b](\d+(?:[eE][+-]?\d+)?)\s*")
UNIX_TIME = re.compile(r"(\d{9,10})(?:\.\d+|\d{3})?")  # s, or ms
MAIL_TIME = re.compile(r"(?:[a-z]{3}, )?\d\d? [a-z]{3} \d{4} \d\d:\d\d:\d\d.*", re.IGNORECASE | re.ASCII)
TIME = re.compile(
    r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)[T ,]{1,3}(\d\d?):(\d\d?)(?::(\d\d?)(?:[.,](\d+))?)?"
    r"\s*(?:([AP])\.?\s?M\.?)?\s*(?:Z|UTC|GMT)?\s*(?:([+-]\d\d):?(\d\d)?)?(?:Z|UTC|GMT)?",
    re.IGNORECASE,
)


def number(text: str) -> float:
    """The number that a text is, perhaps infinite, else NaN. A comma may stand for the decimal point."""
    try:
        return float(text) if len(text) <= MAX_NUMBER else math.nan
    except ValueError:
        comma = DECIMAL_COMMA.fullmatch(text)
        return float(f"{comma[1]}.{comma[2]}") if comma else math.nan


def odd_instant(text: str) -> float:
    """Unix seconds of a time that is not ISO 8601 but clear, NaN for anything else.

    Single digits, those of other scripts, other separators, a lower-case z, AM and PM, 24:00, seconds or milliseconds
    since 1970, times as in e-mails; without an offset it is UTC.
    """
    if UNIX_TIME.fullmatch(text):
        return float(text) / (1000 if text.isdecimal() and len(text) > 10 else 1)
    if MAIL_TIME.fullmatch(text):
        return _mail_time(text)
    if not (written := TIME.fullmatch(text)):
        return math.nan
    year, month, day, hour, minute = (int(digits) for digits in written.groups()[:5])
    second, fraction = int(written[6] or 0), float(f"0.{written[7] or 0}")
    if half := written[8]:
        hour = hour % 12 + 12 * (half in "pP") if 1 <= hour <= 12 else 99
    if hour > 24 or minute > 59 or second > 59:
        return math.nan
    try:
        offset = timedelta(hours=int(written[9] or 0))
        offset += timedelta(minutes=int(written[10] or 0)) * (-1 if (written[9] or "").startswith("-") else 1)
        midnight = datetime(year, month, day, tzinfo=timezone(offset)).timestamp()
    except (ValueError, OverflowError):
        return math.nan
    return midnight + 3600 * hour + 60 * minute + second + fraction


def _mail_time(text: str) -> float:
    from email.utils import parsedate_to_datetime  # it loads sockets

    try:
        written = parsedate_to_datetime(text)
        return (written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError):
        return math.nan
