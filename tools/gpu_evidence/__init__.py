"""Measures everything that is still open on the NVIDIA GPU that is here: `make gpu-evidence`.

The work is a list of steps (`steps.py`), the most valuable first. Each has a time limit and a JSON file, and is skipped
where that file is there. So the command may be stopped at any moment and given again; `make gpu-evidence ARGS=--list`
says what is there, what failed and what is open.

A step that fails, or takes longer than its limit, ends nothing; it is tried again by the next run. Engines are built
when a step needs them, one after another, and nothing is timed beside them. TensorRT's timing cache and the engines of
parts are kept in `runs/gpu-evidence/cache`, unless TAEMI_EDGE_CACHE names another folder.

    make gpu-evidence                                   # everything; an hour or two where nothing is there yet
    make gpu-evidence ARGS='--only host-device --only base'
    make gpu-evidence ARGS='--minutes 14'               # stop by then

Environment:
    PYTHON          has TensorRT, PyCUDA, cuda-bindings, pytest and pytest-timeout; default .venv/bin/python
    RIVALS_PYTHON   has PyTorch, transformers, onnx and onnxruntime-gpu: it exports and runs rivals; default PYTHON
    TARGET          changes of the target, such as 'optimisation_level=2'; separated by semicolons
    OUT             a folder for the JSON files, in place of runs/gpu-evidence/results. What lies in the latter is
                    taken over: put there what another machine gave, and this one goes on where that one stopped.

A host without a network, with TensorRT 8.6 (which has wheels for CPython 3.10 and older): make two environments where
there is a network. One is of CPython 3.10, with `tensorrt==8.6.*`, `pycuda`, `cuda-bindings<13`, pytest, pytest-timeout
and the requirements of this package; the other is of any CPython, with the extra `export` and `onnxruntime-gpu`. Copy
both and this checkout, and run there, with the checkout as the working folder,

    PYTHON=/place/py310/bin/python RIVALS_PYTHON=/place/rivals/bin/python PYTHONPATH=$PWD make gpu-evidence

taemi-base has random weights, so that no model hub is needed: its times are those of trained weights. Steps of
taemi-mobile fail, and say so, where its weights are not installed.
"""
