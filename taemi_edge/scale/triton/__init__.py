"""A bundle as a model of the Triton Inference Server.

`repository` writes the folder that Triton loads: `config.pbtxt` (`config`), `model.py` and the bundle. Triton runs
`model.py` in its Python backend; what it does there is `serving`. `requests` and `tensors` say which inputs and
outputs a model has.
"""
