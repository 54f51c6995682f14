"""Plans of synthetic clips: losses at their rates, and one scene that shows the labels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="synthetic voices need the extra `synth`")

from taemi_edge.taemi.synthetic.clip_plan import SCENES, plan_clip


def test_losses_and_bursts_come_at_their_rates():
    plans = [plan_clip(np.random.default_rng([1, i])) for i in range(4000)]
    share = {
        "no text": np.mean(["text" in p.lost for p in plans]),
        "no stream": np.mean([bool(p.lost & {"vision", "audio"}) for p in plans]),
        "burst in sound": np.mean(["audio" in p.bursts for p in plans]),
        "burst in picture": np.mean(["vision" in p.bursts for p in plans]),
    }
    assert share == pytest.approx(
        {"no text": 0.014, "no stream": 0.2, "burst in sound": 0.3, "burst in picture": 0.5}, abs=0.025
    )


def test_one_scene_shows_the_labels_and_only_the_words_say_which():
    for index in range(200):
        plan = plan_clip(np.random.default_rng([2, index]))
        right = [shot for shot in plan.shots if np.array_equal(shot.feeling, plan.labels)]
        named = [s for s in SCENES if any(noun in shot.text for shot in plan.shots for noun in s.nouns)]
        assert named[0] is SCENES[right[0].scene] or len(right) > 1
        assert len(named) == 1
        assert sorted(shot.scene for shot in plan.shots) == [0, 1, 2, 3]
