"""Sees every answer of a server's Comfy API, whoever asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from api_v2_support.shapes import check_answer

PATH = "/api/v2"


@dataclass
class Answer:
    method: str
    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Answers:
    """ASGI middleware that keeps the answers of the API, to be checked at a test's end."""

    def __init__(self, app) -> None:
        self._app = app
        self.seen: list[Answer] = []

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{PATH}/"):
            await self._app(scope, receive, send)
            return
        answer = Answer(scope["method"], scope["path"].removeprefix(PATH))

        async def keep(message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {
                    name.decode().lower(): value.decode() for name, value in message["headers"]
                }
                self.seen.append(answer)
            elif message["type"] == "http.response.body":
                answer.body += message.get("body", b"")
            await send(message)

        await self._app(scope, receive, keep)

    def check(self) -> None:
        for answer in self.seen:
            check_answer(answer.method, answer.path, answer.status, answer.headers, answer.body)
