"""Grafana's board and the alerts under packaging/, against a real Prometheus that scrapes a live run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.live.running import LiveRun
from tests.live.servers import free_port

pytestmark = pytest.mark.once
FOLDER = ROOT / "packaging" / "grafana"
BOARD = json.loads((FOLDER / "taemi-edge.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
#: What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "6s", "$__range": "1m", "$job": ".*", "$instance": ".*", "$source": ".*"}
#: No GPU runs the tests.
WITHOUT_DATA = ("taemi_edge_gpu_memory_bytes",)


def _needed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip("needs Prometheus: apt-get install --no-install-recommends prometheus")
    return found


def _queries() -> dict[str, str]:
    """Every query of every panel, as Grafana sends it, by the panel's title and the query's letter."""
    found = {}
    for panel in PANELS:
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            found[f"{panel['title']} {target['refId']}"] = query
    return found


@pytest.fixture
def prometheus(tiny_folder: Path, demo_video: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes a run of two sources each second, by our configuration."""
    program, page, address = _needed("prometheus"), f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    ours = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    written = ours.replace("localhost:8080", page).replace("scrape_interval: 10s", "scrape_interval: 1s")
    assert written.count(page) == 1
    (tmp_path / "prometheus.yml").write_text(written, encoding="utf-8")
    command = [program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--web.listen-address={address}"]
    sources = [f"door={demo_video}", f"desk={demo_video}"]
    with (
        LiveRun(tmp_path, tiny_folder, *sources, "--loop", "--serve", page),
        (tmp_path / "log.txt").open("wb") as log,
        subprocess.Popen([*command, f"--storage.tsdb.path={tmp_path / 'data'}"], stdout=log, stderr=log) as process,
    ):
        try:
            yield address
        finally:
            process.kill()


def _asked(address: str, query: str) -> list[dict[str, Any]]:
    """What Prometheus says to a query: a list of series, empty where there is no data or Prometheus is not up yet."""
    page = f"http://{address}/api/v1/query?query={urllib.parse.quote(query)}"
    try:
        with urllib.request.urlopen(page, timeout=20) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code == 400:
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        return []
    except OSError:
        return []
    return [series for series in found if series["value"][1] != "NaN"]


def test_every_query_of_the_board_has_data(prometheus: str) -> None:
    waiting = {name: q for name, q in _queries().items() if not any(metric in q for metric in WITHOUT_DATA)}
    assert len(waiting) >= 17
    until = time.monotonic() + 90
    while waiting and time.monotonic() < until:
        waiting = {name: query for name, query in waiting.items() if not _asked(prometheus, query)}
        time.sleep(0.5)
    assert not waiting
    presence = _asked(prometheus, _queries()["Presence of each stream A"])
    assert {series["metric"]["source"] for series in presence} == {"door", "desk"}
    assert {series["value"][1] for series in presence} <= {"1", "2", "3", "4"}
    for label in BOARD["templating"]["list"][1:]:
        metric = re.sub(r"^label_values\((.*), \w+\)$", r"\1", label["definition"]).replace("$job", ".*")
        found = _asked(prometheus, metric.replace("$instance", ".*"))
        assert {series["metric"][label["name"]] for series in found}, label["name"]


def test_panels_lie_beside_each_other() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in BOARD["panels"]):
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_each_metric_of_board_and_alerts_is_on_the_page_that_describes_metrics() -> None:
    alerts = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"taemi_edge_(\w+)", " ".join([*_queries().values(), alerts])))
    page = (ROOT / "docs" / "how-to" / "monitoring.md").read_text(encoding="utf-8")
    assert {name.removesuffix("_bucket") for name in used if f"`{name.removesuffix('_bucket')}`" not in page} == set()


@pytest.mark.parametrize(
    "words",
    [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_promtool_takes_alerts_and_configuration(words: tuple[str, ...]) -> None:
    done = subprocess.run([_needed("promtool"), *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
