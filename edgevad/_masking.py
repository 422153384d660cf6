"""Text and settings as people may see them: without passwords and tokens."""

from __future__ import annotations

import re

__all__ = ["is_secret_name", "without_password"]

_ADDRESS = re.compile(r"(?i)[a-z][a-z0-9+.-]*:/")
# An address starts here, also where a slash is missing.
_START = r"//|\b(?:rtsps?|https?|rtmp|srt):/(?!/)"
_NO_PORT = r":(?!\d{1,5}(?:[/?#\s]|$))"
_USER = re.compile(rf"(?i)({_START})(?:[^/\s]+@|(?!\[)[^/\s:@]+{_NO_PORT}[^\s\"']+@)")
_UNQUOTED_USER = re.compile(rf"(?i)({_START})(?!\[)[^/\s:@]+{_NO_PORT}(?=\S)[^\n]*@")

_WORDS = r"password|passwd|passphrase|pwd|secret|token|authorization|credentials?|(?:api|access|private|stream)[_-]?key"
# These say so only before "=", and only as whole words: "the second pass: 3 frames".
_SHORT_WORDS = r"(?<![a-z])(?:pass|pw|psk|loginpass?)|(?:user|proxy)-id|(?<=[?&;/])(?:key|auth|sig|signature)"
_SECRET_NAME = re.compile(rf"(?i)(?:{_WORDS}|(?<![a-z])(?:pass|pw|psk|key|auth))$")
_VALUE = (
    r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|\\+[\"'](?:[^\"'\\])*"
    r"|(?:(?:bearer|basic|digest)\s+)?(?:(?!_[a-z]+=)[^\s&\"'<>,;\\]|[,;](?=[^\s\"'])|\\(?![\"']))+"
)
_PAIR = re.compile(
    rf"(?i)(?P<name>(?:{_WORDS})(?=\\*[\"']?\s*[=:])|(?:{_SHORT_WORDS})(?=\s*=))"
    rf"(?P<mark>\\*[\"']?\s*[=:]\s*(?:\(\w+\)\s*)?)(?=(?P<quote>\\*[\"'])?)(?P<value>{_VALUE})"
)
# The whole pair in quotes: its value ends with them.
_QUOTED_PAIR = re.compile(rf"(?i)([\"'])([\w.-]{{0,40}}?(?:{_WORDS}|{_SHORT_WORDS})=)[^\"']+(?=\1)")


def without_password(text: str) -> str:
    """`text`, an address, a GStreamer pipeline or a line of a log, with what looks like a secret as "***".

    Users and passwords before an @; the values of names such as password, pwd, token or api_key wherever cameras put
    them (`?pwd=x`, `/user=a_password=x_channel=1`, `user-pw="x y"`, `'token': 'x'`); `key=` in an address. A value
    without quotes ends at a blank.
    """
    # A password that was not quoted as URLs want it may hold a blank; only a whole address tells where it ends.
    if _ADDRESS.match(text) and " ! " not in text:
        text = _UNQUOTED_USER.sub(r"\1***@", text)
    text = _USER.sub(r"\1***@", text)
    return _PAIR.sub(_hidden, _QUOTED_PAIR.sub(r"\1\2***", text))


def _hidden(pair: re.Match[str]) -> str:
    """The pair with its quotes, so that JSON stays JSON, and without what is in them."""
    quote = pair["quote"] or ""
    end = quote if quote and pair["value"].endswith(quote) and pair["value"] != quote else ""
    return f"{pair['name']}{pair['mark']}{quote}***{end}"


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name, of a setting or a field, is shown to nobody."""
    return _SECRET_NAME.search(name) is not None
