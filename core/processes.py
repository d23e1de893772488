"""What the processes of one paddle.distributed.launch do together; in one process all of it does nothing."""

import paddle


def count_processes():
    """How many there are: int."""
    return paddle.distributed.get_world_size()


def own_number():
    """The number of this process, from 0: int."""
    return paddle.distributed.get_rank() if count_processes() > 1 else 0


def is_first():
    """Whether this process is the one that writes files and prints."""
    return own_number() == 0


def wait_for_all():
    """Return when every process is here: what the first one wrote before is there, what all read may be changed."""
    if count_processes() > 1:
        paddle.distributed.barrier()


def take_first(tensors):
    """Give tensors that need no gradient the values that they have in the first process, bit for bit."""
    if count_processes() > 1:
        for tensor in tensors:
            paddle.distributed.broadcast(tensor, src=0)


def average_gradients(parameters):
    """Give every process the mean of all processes' gradients."""
    count = count_processes()
    if count == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            paddle.distributed.all_reduce(parameter.grad)
            parameter.grad.set_value(parameter.grad / count)


def share_of_mean(count):
    """What a process's mean over `count` values is multiplied by, so that the mean of the processes is that of all.

    Args:
        count (int): values of this process.

    Returns:
        float: 1.0 in one process.
    """
    if count_processes() == 1:
        return 1.0
    total = paddle.to_tensor(float(count))
    paddle.distributed.all_reduce(total)
    return count * count_processes() / float(total)


def own_rows(rows):
    """The rows of a batch that this process works on: every process gets some, all of them where there are too few.

    Args:
        rows (Sequence): of the batch, the same in every process.

    Returns:
        Sequence: of the same kind.
    """
    count = count_processes()
    return rows[own_number() :: count] if len(rows) >= count else rows
