"""A record's seal: the SHA-256 of everything else in it, as canonical JSON."""

import contextlib
import gc
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from lenet.config import Refusal

SEAL = len(',"seal":"') + 64 + len('"}')  # bytes at the end of a sealed text


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """While many records are read, Python looks for no cycles: JSON has none, and it
    would look through ten thousand records again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def canonical(content: Any) -> str:
    """Plain content as the one JSON text that it has.

    >>> canonical({"seed": 3, "error": 0.5})
    '{"error":0.5,"seed":3}'
    """
    # No spaces, keys in order, no NaN: one text for one content, whoever writes it.
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(content: Any) -> str:
    """The SHA-256 of plain content in its canonical JSON form.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its seal."""
    return {**content, "seal": digest(content)}


def seal_text(whole: Mapping[str, Any]) -> bytes:
    """Sealed content as the text of a file: in canonical form, but for the seal, which
    comes last, so that whoever reads it need not bring it into that form again."""
    return f'{canonical(without_seal(whole))[:-1]},"seal":"{whole["seal"]}"}}'.encode()


def unsealed(text: bytes, name: str) -> dict[str, Any]:
    """The content under a seal, with it; a Refusal (4) unless the seal is right.

    >>> text = seal_text(sealed({"seed": 3}))
    >>> unsealed(text, "record.json")["seed"]
    3
    >>> unsealed(text.replace(b"3", b"4", 1), "record.json")
    Traceback (most recent call last):
    lenet.config.Refusal: record.json was changed after it was written: ...
    """
    try:
        content: dict[str, Any] = json.loads(text)
        seal = content["seal"]
        # Records as they were written are told by hashing their bytes. A plan, or a
        # record that was written for readers, with line breaks, has the same content
        # and takes the longer way.
        right = as_written(text) == seal or digest(without_seal(content)) == seal
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as problem:
        raise Refusal(f"{name} is no record: {problem!r}", 4) from None
    if not right:
        raise Refusal(f"{name} was changed after it was written: its seal is wrong", 4)
    # JSON escapes all control characters but 127, and those beyond ASCII. Nearly all
    # records are plain, and need not be walked through.
    plain = b"\\" not in text and text.isascii() and b"\x7f" not in text
    if not plain and odd(names_in(content)):
        raise Refusal(
            f"{name} has control characters in a text, which lenet writes nowhere", 4
        )
    return content


def names_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """All of a record, plan or note, but not the lines that a failed attempt said."""
    return {key: value for key, value in content.items() if key != "said"}


def odd(content: Any) -> bool:
    r"""Whether a text in what JSON holds, or a key, cannot be printed as it is.

    >>> odd({"name": ["plain", 3]}), odd({"name": "red \x1b[31m"})
    (False, True)
    """
    if isinstance(content, dict):
        return any(map(odd, content)) or any(map(odd, content.values()))
    if isinstance(content, list):
        return any(map(odd, content))
    return isinstance(content, str) and not content.isprintable()


def as_written(text: bytes) -> str:
    """The seal of a text that `seal_text` made, in a tenth of the time of `digest`."""
    return hashlib.sha256(text.strip()[:-SEAL] + b"}").hexdigest()


def without_seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a seal is of."""
    return {key: value for key, value in content.items() if key != "seal"}
