"""Webhooks: signed word of a job to an address that its caller gave."""

from handler.webhooks.webhooks import Webhooks, open_webhooks

__all__ = ["Webhooks", "open_webhooks"]
