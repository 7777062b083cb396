"""The GPUs of this machine, asked of TensorFlow only where there may be one."""

from __future__ import annotations

from cnn_tuner.runs import machine


def found_gpus() -> tuple[str, ...]:
    """The GPUs that TensorFlow sees, as CUDA_VISIBLE_DEVICES names them.

    Where there can be none TensorFlow is not loaded to say so: the driver loads it beside its workers, not before.
    """
    if not machine.may_have_gpu():
        return ()
    from cnn_tuner.training import devices  # loads TensorFlow

    return devices.gpus()
