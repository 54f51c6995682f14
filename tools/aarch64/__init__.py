"""Shows on an emulated arm64 machine that the device half installs, agrees with PyTorch, and adds bytes exactly.

    make aarch64                                        # about 15 minutes on two cores; it needs Debian and PyPI
    make aarch64 ARGS='--only operators'                # two minutes
    make aarch64 ARGS='--only int8 --calibrated calibration/taemi-mobile'

It makes an arm64 root of Debian's packages and the wheels of `requirements/locks` in `runs/aarch64`, without root
rights (`machine_root.py`). There it runs `doctor`, `parity` and `run` of taemi-tiny and taemi-mobile, and small graphs
of ONNX Runtime's integer operators on several kinds of processors (`operators.py`). The outputs of a run are compared
with those of the same run on this machine. What came is written to `benchmarks/aarch64.json`.

The processor is emulated: results count, times do not. No time of this record says how fast an arm64 machine is.
"""
