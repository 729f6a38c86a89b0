"""The configuration of a network: its architecture and sizes."""

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture and sizes. The defaults are the original's network: 51,009 parameters."""

    architecture: str = "lstm"
    input_size: int = 3
    hidden_size: int = 64
    num_layers: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        """Raise ValueError for a size below 1 or a dropout outside [0, 1)."""
        for name in ("input_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        dropout: object = self.dropout  # a file may hold anything
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout!r}")

    def to_dict(self) -> dict[str, Any]:
        """Give JSON-ready fields."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "NetworkConfig":
        """Rebuild from `to_dict`. Raises ValueError for a field that does not exist."""
        unknown = sorted(set(values) - {field.name for field in fields(NetworkConfig)})
        if unknown:
            raise ValueError(f"unknown network fields: {', '.join(unknown)}")
        return NetworkConfig(**values)
