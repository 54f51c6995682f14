"""`make gpu-evidence` without a GPU: its commands are those of the command line, and its runner stops at nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from taemi_edge.bundle.folder import Bundle, open_bundle
from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.cli.main import app
from taemi_edge.engines.profiles import all_profiles
from taemi_edge.engines.recipe import TargetRecipe
from taemi_edge.parity.golden import golden_cases
from tests.conftest import ROOT
from tools.gpu_evidence import gpu_tests
from tools.gpu_evidence.__main__ import carry_out, main
from tools.gpu_evidence.goals import GOALS
from tools.gpu_evidence.runner import Places, Runner
from tools.gpu_evidence.steps import Plan, Step, all_steps, chosen

STEPS = all_steps(Plan())
NAMES = [step.name for step in STEPS]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "work", tmp_path / "out", tmp_path / "earlier", sys.executable, sys.executable)


def wrote(name: str, **more) -> Step:
    """A step that writes its JSON."""
    script = "import sys; open(sys.argv[1], 'w').write('{\"found\": 1}')"
    return Step(name, "", ("{python}", "-c", script, "{json}"), 60, **more)


def does(name: str, script: str, limit_s: int = 60, **more) -> Step:
    return Step(name, "", ("{python}", "-c", script), limit_s, **more)


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_the_command_of_every_step_is_one_that_there_is(step: Step, places: Places):
    """The real command line parses it; the modules of the tool are there."""
    words = [places.fill(word, places.work / "x.json") for word in step.command]
    assert words[:2] == [sys.executable, "-m"]
    if words[2] != "taemi_edge":
        assert importlib.util.find_spec(words[2])
        return
    command = typer.main.get_command(app)
    with command.make_context("taemi-edge", words[3:]) as outer:
        name, found, rest = command.resolve_command(outer, [*outer._protected_args, *outer.args])
        assert found.make_context(name, rest, parent=outer).info_name == words[3]


def test_parts_are_timed_at_batches_that_their_engines_take(tiny: Bundle):
    sources = {step.makes: _word_after(step, "--sources") for step in STEPS if "build-engine" in step.command}
    cases = golden_cases(tiny)
    for step in STEPS:
        if "bench" not in step.command or "--host" in step.command:
            continue
        engines = sources[step.command[4].removeprefix("{work}/")]
        target = load_recipe("engines", "tensorrt", TargetRecipe, {"sources": engines})
        most = max(spans["frames"][2] for spans in all_profiles(tiny.manifest, target, cases)["vision"])
        for word in step.command:
            part, _, batch = word.partition("=")
            assert part != "vision" or int(batch) <= most, step.name


def _word_after(step: Step, option: str) -> str:
    return step.command[step.command.index(option) + 1]


def test_what_a_step_needs_stands_before_it_and_every_name_is_there_once():
    assert len(set(NAMES)) == len(NAMES)
    for index, step in enumerate(STEPS):
        assert set(step.needs) <= {before.name for before in STEPS[:index] if before.makes}
        assert bool(step.makes) or "{json}" in step.command, step.name
    assert STEPS[-1].name.startswith("tests-")


def test_what_is_there_is_skipped_and_engines_are_built_for_who_needs_them(places: Places):
    made = does("graphs", f"import os; os.makedirs({str(places.work / 'graphs')!r})", makes="graphs")
    steps = (made, wrote("one", needs=("graphs",)), wrote("two"))
    places.earlier.mkdir()
    (places.earlier / "two.json").write_text('{"found": 2}')
    runner = Runner(steps, places)
    assert [step.name for step in runner.pending(chosen(steps, []))] == ["graphs", "one"]
    assert carry_out(runner, chosen(steps, [])) == 0
    assert json.loads((places.results / "two.json").read_text()) == {"found": 2}
    assert json.loads((places.results / "one.json").read_text()) == {"found": 1}
    assert Runner(steps, places).pending(chosen(steps, [])) == []
    (places.results / "one.json").unlink()
    assert [step.name for step in Runner(steps, places).pending(steps[1:])] == ["one"]


@pytest.mark.parametrize("record", ['{"steps":', "[]", '{"steps": [1]}', '{"steps": {"one": 1}}', "\xff"])
def test_files_that_were_cut_are_measured_again(places: Places, record: str):
    places.results.mkdir()
    (places.results / "steps.json").write_bytes(record.encode("latin-1"))
    (places.results / "one.json").write_text('{"found": ')
    runner = Runner((wrote("one"),), places)
    assert [step.name for step in runner.pending(runner.steps)] == ["one"]
    assert carry_out(runner, runner.steps) == 0
    assert json.loads((places.results / "one.json").read_text()) == {"found": 1}


@pytest.mark.parametrize("out", ["/dev/null", "/proc/nowhere", "/dev/null/below"])
def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path, monkeypatch, capsys, out: str):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUT", out)
    assert main(["--list"]) == 2
    assert f"gpu_evidence: {out}: cannot be written: " in (told := capsys.readouterr().err)
    assert told.count("\n") == 1


def test_what_fails_or_takes_too_long_ends_nothing_and_is_tried_again(places: Places, capsys):
    steps = (
        does("broken", "import sys; sys.exit('no such kernel')"),
        does("silent", "pass  # and writes no JSON"),
        does("endless", "import time; time.sleep(100)", limit_s=1),
        does("graphs", "raise SystemExit(3)", makes="graphs"),
        wrote("starved", needs=("graphs",)),
        Step("lost", "", ("/no/such/python",), 60),
        wrote("last"),
    )
    steps = tuple(
        s if "{json}" in s.command else Step(s.name, s.what, (*s.command, "{json}"), s.limit_s, s.needs, s.makes)
        for s in steps
    )
    runner = Runner(steps, places)
    assert carry_out(runner, chosen(steps, [])) == 1
    assert [runner.state(step) for step in steps] == ["failed"] * 2 + ["over its limit"] + ["failed"] * 3 + ["there"]
    assert "no such kernel" in runner.why(steps[0])
    assert "it took more than 1 s" in runner.why(steps[2])
    assert "it needs graphs" in runner.why(steps[4])
    assert sorted(file.name for file in places.results.glob("*.json")) == ["last.json", "steps.json"]
    assert "at most 0 min; " in capsys.readouterr().out
    again = Runner(steps, places)
    assert again.state(steps[2]) == "over its limit"
    assert [step.name for step in again.pending([steps[2]])] == ["endless"]


@pytest.mark.parametrize(("number", "code", "why"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_signals_leave_what_is_finished_and_end_what_runs(places: Places, number: int, code: int, why: str):
    """What a step itself has started is ended, too, though it does not listen."""
    started = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); time.sleep(100)"
    endless = (
        "import os, subprocess, sys, time\n"
        f"inner = subprocess.Popen([sys.executable, '-c', {started!r}], stdout=subprocess.PIPE)\n"
        "inner.stdout.readline()\n"
        "print(os.getpid(), inner.pid, flush=True)\n"
        "time.sleep(100)"
    )
    script = (
        "import sys; from tests.test_gpu_evidence import *\n"
        "places = Places(*map(Path, sys.argv[1:4]), sys.executable, sys.executable)\n"
        f"steps = wrote('one'), does('endless', {endless!r})\n"
        "sys.exit(carry_out(Runner(steps, places), steps))"
    )
    words = [str(folder) for folder in (places.work, places.results, places.earlier)]
    running = subprocess.Popen([sys.executable, "-c", script, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    log = places.work / "endless.log"
    deadline = time.monotonic() + 60
    while not (log.is_file() and log.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(number)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == code
    assert f"stopped: {why}" in out
    assert (places.results / "one.json").is_file()
    assert [pid for pid in log.read_text().split()[:2] if _runs(pid)] == []


def _runs(pid: str) -> bool:
    """Whether a process is there and no zombie, which whoever takes orphans may not have collected yet."""
    status = Path("/proc", pid, "stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_needs_a_step_that_is_left_for_another_run_is_left_as_well(places: Places, capsys):
    made = Step("graphs", "", wrote("graphs").command, 900, makes="graphs")
    steps = (made, wrote("one", needs=("graphs",)))
    runner = Runner(steps, places, ends_s=time.monotonic() + 50)
    runner.run(chosen(steps, []))
    assert [runner.state(step) for step in steps] == ["open", "open"]
    assert "left for another run, as graphs is" in capsys.readouterr().out


def test_no_step_begins_that_the_time_left_is_too_short_for(places: Places, capsys):
    steps = (wrote("long"), wrote("short"))
    steps = (Step("long", "", steps[0].command, 900), steps[1])
    Runner(steps, places, ends_s=time.monotonic() + 50).run(steps)
    assert [file.name for file in places.results.glob("[!s]*.json")] == []
    assert (places.results / "short.json").is_file()
    assert "left for another run" in capsys.readouterr().out


def test_goals_are_told_by_what_was_measured_and_by_nothing_else(tmp_path: Path):
    verdicts = [goal.verdict(tmp_path) for goal in GOALS]
    assert all(verdict.startswith("open") for verdict in verdicts)
    for name, file in (("base", "h100-bench-base"), ("mobile-16", "h100-bench-mobile-16")):
        (tmp_path / f"{name}.json").write_text((ROOT / "benchmarks" / f"{file}.json").read_text())
    (tmp_path / "host.json").write_text('{"sources": [{"sources": 1, "repeated_us": {"median": 18.5}}]}')
    verdicts = [goal.verdict(tmp_path) for goal in GOALS]
    assert [verdict.split()[0] for verdict in verdicts] == ["reached", "open", *["short"] * 5]
    assert "found 6.755" in verdicts[2]


@pytest.mark.parametrize(("words", "code"), [(["--only", "nothing"], 2), (["--list"], 0), ([], 2)])
def test_the_command(words, code, tmp_path: Path):
    command = [sys.executable, "-m", "tools.gpu_evidence", *words]
    environment = {**os.environ, "OUT": str(tmp_path), "PATH": "/no/such/folder"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == (code == 2)
    assert len(done.stdout.splitlines()) == (0 if code else len(STEPS))


def test_failures_and_reasons_of_tests_are_told_by_name(tmp_path: Path):
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2, 'one is not two'\n"
        "def test_elsewhere(): pytest.skip('no GPU')\n"
    )
    found = gpu_tests.run_tests(str(tmp_path / "test_three.py"), tmp_path)
    assert (found["passed"], found["exit_code"]) == (1, 1)
    assert ["one is not two" in told for told in found["failed"].values()] == [True]
    assert ["no GPU" in told for told in found["skipped"].values()] == [True]
    (tmp_path / "test_three.py").write_text("import pytest\ndef test_elsewhere(): pytest.skip('no GPU')\n")
    with pytest.raises(SystemExit, match="no test ran: .*no GPU"):
        gpu_tests.run_tests(str(tmp_path / "test_three.py"), tmp_path)


def test_graphs_without_islands_compute_softmax_and_layer_norm_in_fp16(tiny: Bundle, tmp_path: Path):
    pytest.importorskip("onnx", reason="graphs are cast with onnx")
    from taemi_edge.calibration.graphs.fp16 import KEPT_OPS, convert_to_fp16
    from taemi_edge.calibration.graphs.graph import Graph
    from tools.gpu_evidence import free_graphs

    free_graphs.main([str(tiny.folder), str(tmp_path / "free")])
    free = open_bundle(tmp_path / "free")
    for part in free.manifest.part_names:
        file = free.manifest.graph_file(part, "fp16")
        graph = Graph.of_bytes(free.read_graph(file), file)
        kept = convert_to_fp16(Graph.of_part(tiny, part), ())
        assert _casts(graph) <= _casts(kept)
        if {node.op_type for node in graph.nodes} & set(KEPT_OPS):
            assert _casts(graph) < _casts(kept), part


def _casts(graph) -> int:
    return sum(node.op_type == "Cast" for node in graph.nodes)


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_the_whole_list_runs_on_a_processor_with_a_small_model(places: Places):
    """What needs TensorRT itself fails and says so; everything else leaves its JSON."""
    plan = Plan(base="taemi-tiny", mobile="taemi-tiny", target="cpu", fp8="int8", runs=5)
    steps = all_steps(plan)
    runner = Runner(steps, places)
    carry_out(runner, chosen(steps, []))
    on_a_gpu = {"host-device", "host-device-16", "base-layers", "base-free-layers", "tests-runtime", "tests-engines"}
    assert {step.name for step in steps if not runner.is_done(step)} == on_a_gpu
    for name in ("base", "base-free", "mobile-16", "mobile-fp8"):
        assert json.loads((places.results / f"{name}.json").read_text())["windows"]
