"""Messages on the shelf: those that are not delivered outlive the process that made them.

Whoever holds a message rewrites it after each attempt, with the time of the next one. A message
whose time has passed by a minute has nobody any more, and the first process that sees it goes on
with it. Two may see it at once: receivers tell a repeated message by its id.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from handler.contract.errors import StorageError
from handler.webhooks.message import Message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from handler.shelf import Shelf

# Below the results: names with a leading dot are never handed out.
_FOLDER = ".webhooks/"
_ORPHANED_AFTER = 60.0
_MOST_AT_ONCE = 1_000

log = logging.getLogger(__name__)


class PendingMessages:
    """The messages of all processes. Safe from any thread.

    A message that cannot be written is delivered all the same while its process lives.

    Args:
        shelf: Where results are.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def put(self, message: Message) -> None:
        """Write a message, in place of what is there of it."""
        with _logged():
            data = message.model_dump_json().encode()
            self._shelf.put(_key(message.message_id), data, content_type="application/json")

    def delete(self, message: Message) -> None:
        """Remove a message."""
        with _logged():
            self._shelf.delete(_key(message.message_id))

    def adopt(self, own: Collection[str]) -> tuple[list[Message], float | None]:
        """Take over the messages that nobody has any more.

        Args:
            own: Ids of the messages that this process has.

        Returns:
            The messages, due now, and the time (seconds since the epoch) at which a further one
            would have nobody; ``None`` if there is none.
        """
        adopted: list[Message] = []
        orphaned_at: list[float] = []
        with _logged():
            for entry in self._shelf.list(_FOLDER):
                message_id = entry.key.removeprefix(_FOLDER).removesuffix(".json")
                if message_id in own or len(adopted) >= _MOST_AT_ONCE:
                    continue
                message = self._read(entry.key)
                if message is None:
                    continue
                now = time.time()
                if message.due + _ORPHANED_AFTER > now:
                    orphaned_at.append(message.due + _ORPHANED_AFTER)
                    continue
                adopted.append(message.model_copy(update={"due": now}))
                self.put(adopted[-1])
        return adopted, min(orphaned_at, default=None)

    def _read(self, key: str) -> Message | None:
        data = self._shelf.get(key)
        if data is None:
            return None
        try:
            return Message.model_validate_json(data)
        except ValueError:  # pydantic's errors are ValueErrors
            log.warning("webhook cannot be read and is dropped", extra={"key": key})
            self._shelf.delete(key)
            return None


def _key(message_id: str) -> str:
    return f"{_FOLDER}{message_id}.json"


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        log.warning("pending webhooks cannot be kept", extra={"error": error.message})
