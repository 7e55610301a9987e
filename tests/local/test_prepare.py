"""A study file, joined with this machine."""

from datetime import timedelta
from pathlib import Path

import yaml

from factories.machines import make_machine
from factories.study_documents import make_study_document
from infpop_operator.local.prepare import prepare

SIMULATED = {"name": "simulated", "simulation": {"formula": {}}}


def test_a_person_who_runs_a_study_again_waits_for_no_debounce(tmp_path: Path) -> None:
    """Changed hardware of this machine is measured at once, as often as the user comes back; the policy holds."""
    retune = {"policy": "Manual", "debounce": "1h", "maxPerDay": 1}
    document = make_study_document("study", "default", engine=SIMULATED, retune=retune)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(document))
    wanted = prepare(path, make_machine(), tiny_model=tmp_path / "none").study.retune
    assert (wanted.policy, wanted.debounce, wanted.max_per_day) == ("Manual", timedelta(0), None)
    assert wanted.requested is None
