"""The Python client: `from service.client import Client`."""

from service.client.client import Client, JobFailed, NoAnswer, RequestFailed

__all__ = ["Client", "JobFailed", "NoAnswer", "RequestFailed"]
