import errno

import pytest
import torch

from hrmodel.training.fit import NonFiniteLoss
from worker.failures import JobFailure
from worker.runner import explain


@pytest.mark.parametrize(
    ("error", "code", "advice"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "gpu_out_of_memory", "a smaller hyperparameters.batch_size"),
        (OSError(errno.ENOSPC, "no space"), "storage_full", "Make room"),
        (NonFiniteLoss("the loss is not finite"), "non_finite_loss", ""),
        (ValueError("secret"), "internal_error", "log"),
        (JobFailure("no_workouts", "Nothing."), "no_workouts", ""),
    ],
)
def test_a_failure_says_what_a_client_of_the_api_can_do(error, code, advice):
    failure = explain(error)
    assert failure.code == code
    assert advice in failure.message
    assert "--" not in failure.message  # options are for those at a command line
    assert "secret" not in failure.message
