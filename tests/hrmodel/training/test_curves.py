import io
from concurrent.futures import ThreadPoolExecutor

from matplotlib.image import imread

from hrmodel.training.curves import best_entry, draw_curves


def make_history(epochs, val=True):
    return [
        {"epoch": e, "train_loss": 1 / e, "val_loss": 1 / e + 0.02 * e if val else None, "learning_rate": 1e-3}
        for e in range(1, epochs + 1)
    ]


def test_the_best_epoch_is_that_of_the_lowest_validation_loss():
    assert best_entry(make_history(20)) == (7, 1 / 7 + 0.14)
    assert best_entry(make_history(3, val=False)) is None
    assert best_entry([]) is None


def test_a_png_is_written_to_a_path_or_a_buffer(tmp_path):
    draw_curves(make_history(20), tmp_path / "curves.png", "stage 1")
    buffer = io.BytesIO()
    draw_curves(make_history(20), buffer, "stage 1")
    assert imread(tmp_path / "curves.png").shape == (720, 960, 4)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_no_epochs_one_epoch_and_no_validation_can_be_drawn():
    for history in ([], make_history(1), make_history(5, val=False)):
        draw_curves(history, io.BytesIO())


def test_many_threads_may_draw_at_once():
    def draw(_):
        buffer = io.BytesIO()
        draw_curves(make_history(30), buffer, "stage 2")
        return buffer.getvalue()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(6)))) == 1
