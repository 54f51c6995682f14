"""What the server of the page answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `serve`")
from tests.live.page.client import get

PAGE = Path(__file__).parents[3] / "taemi_edge" / "live" / "page"


def test_the_page_is_small_and_needs_nothing_from_elsewhere(served):
    _, url = served
    total = 0
    for path in ("/", "/page.js", "/outputs.js", "/page.css", "/uplot.js", "/uplot.css"):
        status, body, headers = get(url + path)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        total += len(body.encode())
    assert total < 100_000
    own = "".join((PAGE / name).read_text() for name in ("index.html", "page.js", "outputs.js", "page.css"))
    assert "http://" not in own
    assert "https://" not in own


def test_health_and_metrics(served):
    run, url = served
    status, body, _ = get(f"{url}/healthz")
    health = json.loads(body)
    assert status == 200
    assert health["status"] == "ok"
    assert health["streams"]["demo"]["text"]["state"] in ("live", "stale", "missing")
    assert health["hops"] >= 4
    status, body, headers = get(f"{url}/metrics")
    assert headers["content-type"].startswith("text/plain")
    from prometheus_client.parser import text_string_to_metric_families

    found = {family.name: family for family in text_string_to_metric_families(body)}
    parts = {s.labels["part"] for s in found["taemi_edge_part_latency_seconds"].samples if s.name.endswith("count")}
    assert parts >= {"vision", "audio", "fusion", "face", "total"}
    assert {s.labels["outcome"] for s in found["taemi_edge_hops"].samples} == {"made", "late", "missed"}
    states = [s for s in found["taemi_edge_stream_state"].samples if s.labels["modality"] == "vision"]
    assert sum(s.value for s in states) == 1
    for name in ("reconnects", "dropped", "feature_age_seconds", "connected", "transcript_lines", "page_watchers"):
        assert f"taemi_edge_{name}" in found
    assert run.process.poll() is None


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.js/../server.py",
        "/static/..%2fserver.py",
        "//etc/passwd",
    ],
)
def test_nothing_but_the_page_can_be_had(served, path):
    assert get(served[1] + path)[0] == 404
