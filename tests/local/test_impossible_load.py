"""A model that no engine can split over two devices, tuned on a real engine: one GPU count must not cost the study."""

import json
from pathlib import Path

import pytest

from infpop_operator.core.history import broken_reason, trials_of
from infpop_operator.core.model import TrialState
from local.local_studies import history_of, run_infpop

STUDY = """
apiVersion: infpop.io/v1alpha1
kind: ThroughputStudy
metadata: {name: mlp-odd}
spec:
  model: {name: model, dtype: bfloat16, loadFormat: dummy}
  engine: {name: vllm, enforceEager: true, maxNumBatchedTokens: 4096}
  workload: {source: {synthetic: {promptTokens: 16}}, samples: 8, maxNewTokens: 4}
  searchSpace: {gpuCount: [1, 2], batchSize: [1, 8]}
  algorithm: {name: grid, trialsPerRun: 1}
  budget: {maxTrials: 4, maxConcurrentGPUs: 2, confirm: false}
  measurement: {minDuration: 1s, maxSpread: "10", timeouts: {load: 10m, measure: 5m}}
  nodePools: [{name: this-machine, gpuResource: cpu}]
"""


@pytest.mark.engine
@pytest.mark.timeout(1800)
def test_a_layer_that_two_ranks_cannot_share_costs_the_study_nothing_but_time(tmp_path: Path) -> None:
    """The intermediate size is odd: the study ends with the best of one rank, and few runs were spent on two."""
    assert run_infpop("tiny-model", "model", cwd=tmp_path, timeout_s=600).returncode == 0
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"intermediate_size": 255}))
    (tmp_path / "study.yaml").write_text(STUDY)
    done = run_infpop("tune", "study.yaml", "--output", "out", cwd=tmp_path, timeout_s=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Best configuration found" in done.stdout
    history = history_of(tmp_path / "out")
    trials = trials_of(history, "this-machine", 1)
    measured = {trial.configuration.gpu_count for trial in trials if trial.state is TrialState.MEASURED}
    assert measured == {1}
    assert sum(trial.state is TrialState.MEASURED for trial in trials) == 2
    assert sum(ended.run.gpu_count == 2 and broken_reason(ended) is not None for ended in history.ended) <= 3
