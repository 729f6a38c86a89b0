import pytest
import torch

from hrmodel.training.batches import Batch, Key, View
from hrmodel.training.bucketing import buckets_of
from hrmodel.training.frozen_cache import FrozenLayerCache
from tests.network_builders import tiny_network


def long_tailed():
    """Sequences of 5 to 60 steps in no order."""
    lengths = (7, 60, 9, 5, 58, 8, 6, 30)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(len(lengths), 60, 3, generator=generator)
    mask = torch.zeros(len(lengths), 60, dtype=torch.bool)
    for row, length in enumerate(lengths):
        inputs[row, length:], mask[row, :length] = 0.0, True
    keys = tuple(Key("train", row, 0, View(0.0)) for row in range(len(lengths)))
    return Batch(inputs=inputs, target=inputs[..., 0] * mask, mask=mask, keys=keys, lengths=lengths)


def test_sequences_of_similar_lengths_go_together():
    assert buckets_of([7, 60, 9, 5, 58, 8, 6, 30]) == [[1, 4, 7], [2, 5, 0, 6, 3]]


def test_every_row_is_in_one_bucket_and_equal_lengths_stay_together():
    assert buckets_of([20] * 9) == [list(range(9))]
    assert buckets_of([5]) == [[0]]
    assert sorted(row for rows in buckets_of(range(1, 65)) for row in rows) == list(range(64))


@pytest.mark.parametrize("layers", [(), (0,)])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_buckets_change_neither_the_output_nor_the_random_numbers_nor_the_gradient(layers, dropout):
    model, batch = tiny_network(dropout=dropout).train(), long_tailed()
    model.freeze_layers(layers)
    cache = FrozenLayerCache(model)
    answers = []
    for bucketed in (True, False):
        torch.manual_seed(5)
        output = cache.predict(batch) if bucketed else model.run_from(cache.frozen_output(batch), cache.layers)
        model.zero_grad()
        (output * batch.mask).square().sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.requires_grad]
        answers.append((output.detach() * batch.mask, torch.get_rng_state(), gradients))
    (ours, drawn, ours_grad), (whole, drawn_whole, whole_grad) = answers
    torch.testing.assert_close(ours, whole, atol=1e-6, rtol=1e-5)
    assert torch.equal(drawn, drawn_whole)
    torch.testing.assert_close(ours_grad, whole_grad, atol=1e-5, rtol=1e-4)
