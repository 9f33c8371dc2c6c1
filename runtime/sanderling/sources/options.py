"""What stands behind the question mark: `/dev/video0?width=1280&fourcc=MJPG`."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from sanderling.errors import SourceError


class Options:
    """The options of a source, each asked for once.

    Args:
        where: the whole text, for messages.
        query: what stands behind the question mark.

    Raises:
        SourceError: it is not `key=value&key=value`, or a key comes twice.
    """

    def __init__(self, where: str, query: str) -> None:
        self._where = where
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError as exc:
            raise SourceError(f"{where}: options are written ?key=value&key=value") from exc
        self._given = dict(pairs)
        self._known: list[str] = []
        if len(self._given) != len(pairs):
            raise SourceError(f"{where}: an option is given twice")

    def integer(self, key: str, least: int, most: int, default: int = 0) -> int:
        """A whole number."""
        text = self._take(key)
        if text is None:
            return default
        if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        raise SourceError(f"{self._where}: {key}={text}: must be a number from {least} to {most}")

    def text(self, key: str, pattern: str, example: str) -> str:
        """A word that matches the regular expression; empty when it is not given."""
        text = self._take(key)
        if text is None:
            return ""
        if re.fullmatch(pattern, text):
            return text
        raise SourceError(f"{self._where}: {key}={text}: must be such as {example}")

    def done(self) -> None:
        """All have been asked for.

        Raises:
            SourceError: one is given that is none.
        """
        unknown = [key for key in self._given if key not in self._known]
        if unknown:
            raise SourceError(
                f"{self._where}: there is no option {unknown[0]}; options here:"
                f" {', '.join(self._known) or 'none'}"
            )

    def _take(self, key: str) -> str | None:
        self._known.append(key)
        return self._given.get(key)
