"""The peer of bench_training.py: how common fine-tuning scripts train, on the same sequences.

A Dataset of padded items behind a DataLoader, layer 0 frozen by `requires_grad` alone, the whole network for every
batch, the loss read after each. It starts from the same weights and takes as many steps of the same optimiser.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hrmodel.network.lstm import HeartRateLSTM
from hrmodel.training.batches import Batch
from hrmodel.training.fit import masked_mse
from hrmodel.training.stages import StageConfig

Item = tuple[Tensor, Tensor, Tensor]  # (T, 3) inputs, (T,) target, (T,) mask


class PaddedItems(Dataset[Item]):
    """One view of each sequence, padded to `steps` or, without it, as long as it is."""

    def __init__(self, batches: Sequence[Batch], steps: int | None) -> None:
        self._items: list[Item] = []
        for batch in batches:
            for row, length in enumerate(batch.lengths):
                item = (batch.inputs[row, :length], batch.target[row, :length], batch.mask[row, :length])
                self._items.append(item if steps is None else tuple(_padded(part, steps) for part in item))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]


def train_plainly(
    model: HeartRateLSTM, train: PaddedItems, val: PaddedItems, stage: StageConfig, batch_size: int
) -> list[float]:
    """Every epoch of a stage; the validation loss after each."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not any(name.endswith(f"_l{layer}") for layer in stage.freeze_layers)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=stage.learning_rate, weight_decay=stage.weight_decay)
    train_loader = DataLoader(train, batch_size=batch_size, shuffle=True, collate_fn=_collate)
    val_loader = DataLoader(val, batch_size=32, collate_fn=_collate)
    losses = []
    for _ in range(stage.epochs):
        model.train()
        total = 0.0
        for inputs, target, mask in train_loader:
            optimizer.zero_grad()
            loss = masked_mse(model(inputs), target, mask)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, stage.gradient_clip)
            optimizer.step()
            total += loss.item()
        losses.append(_validate(model, val_loader))
    return losses


@torch.no_grad()
def _validate(model: HeartRateLSTM, loader: DataLoader[Item]) -> float:
    model.eval()
    losses = [masked_mse(model(inputs), target, mask).item() for inputs, target, mask in loader]
    return sum(losses) / max(len(losses), 1)


def _collate(items: list[Item]) -> Item:
    """Stack items, padded to the longest of them."""
    steps = max(len(mask) for _, _, mask in items)
    inputs, target, mask = (torch.stack([_padded(part, steps) for part in parts]) for parts in zip(*items, strict=True))
    return inputs, target, mask


def _padded(values: Tensor, steps: int) -> Tensor:
    if len(values) == steps:
        return values
    return torch.cat([values, values.new_zeros(steps - len(values), *values.shape[1:])])
