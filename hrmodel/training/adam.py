"""torch's Adam without torch's compiler."""

import inspect

import torch
from torch.optim import Adam


class PlainAdam(Adam):
    """`torch.optim.Adam`, with the same numbers. The decorators around its methods load `torch._dynamo` (1 s of CPU and
    70 MB in every process that trains) only to tell the compiler to stay away; here they are taken off.
    """  # fmt: skip

    step = torch.no_grad()(inspect.unwrap(Adam.step))
    add_param_group = inspect.unwrap(Adam.add_param_group)
    zero_grad = inspect.unwrap(Adam.zero_grad)
    state_dict = inspect.unwrap(Adam.state_dict)
    load_state_dict = inspect.unwrap(Adam.load_state_dict)
