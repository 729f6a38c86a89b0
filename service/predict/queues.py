"""What waits for which model, by account: a batch is for one model, and begins with the account whose turn it is."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What waits."""

    @property
    def size(self) -> int:
        """How much of a batch it takes."""


Model = TypeVar("Model", bound=Hashable)
Item = TypeVar("Item", bound=Sized)


class Queues(Generic[Model, Item]):
    """A queue for each account and model. Not safe for threads."""

    def __init__(self, most: int, most_size: int) -> None:
        self._most, self._most_size = most, most_size
        self._accounts: OrderedDict[Hashable, OrderedDict[Model, deque[Item]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def add(self, account: Hashable, model: Model, item: Item) -> None:
        """Put an item behind the others of its account and model."""
        self._accounts.setdefault(account, OrderedDict()).setdefault(model, deque()).append(item)

    def take(self) -> tuple[Model, list[Item]]:
        """The next batch, bounded in items and in size: what waits longest of the account whose turn it is, and what
        else waits for the same model, one of each account in turns. That account is behind the others then, and that
        model behind its other ones.
        """  # fmt: skip
        first = next(iter(self._accounts))
        model = next(iter(self._accounts[first]))
        sharing = deque(account for account, models in self._accounts.items() if model in models)
        batch: list[Item] = []
        size = 0
        while sharing and len(batch) < self._most:
            account = sharing.popleft()
            queue = self._accounts[account][model]
            if batch and size + queue[0].size > self._most_size:
                continue  # another account's may be small enough
            size += queue[0].size
            batch.append(queue.popleft())
            if queue:
                sharing.append(account)
            else:
                self._forget(account, model)
        self._go_behind(first, model)
        return model, batch

    def _forget(self, account: Hashable, model: Model) -> None:
        models = self._accounts[account]
        del models[model]
        if not models:
            del self._accounts[account]

    def _go_behind(self, account: Hashable, model: Model) -> None:
        if account in self._accounts:
            self._accounts.move_to_end(account)
            if model in self._accounts[account]:
                self._accounts[account].move_to_end(model)
