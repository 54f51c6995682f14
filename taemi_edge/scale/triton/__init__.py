"""A bundle as a model of the Triton Inference Server.

`repository` writes the folder that Triton loads: `config.pbtxt` (`config`), `model.py` and the bundle. Triton runs
`model.py` in its Python backend; what it does there is `serving`. `tensors` says which inputs and outputs a model has.
"""
