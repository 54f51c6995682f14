"""Times the host's own part of a hop: the TensorRT executor runs on a device that does nothing, on any machine.

`idle_device` and `idle_engines` stand in for PyCUDA, cuda-bindings, TensorRT and engines. `clip` gives real hops,
`split` says which part of the executor a moment belongs to, `measure` times, and `report` holds the result.
"""
