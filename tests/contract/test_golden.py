"""Results and specs that older versions wrote still parse."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from infpop_runner.contract import Infeasible, Invalid, Measured, RacedOut, RunResult, RunSpec, Skipped, decode_result

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("result-*.json")), ids=lambda path: path.stem)
def test_old_results_still_parse(path: Path) -> None:
    """Every result ever written by a release is read, and writing it again loses nothing."""
    result = decode_result(path.read_text())
    assert RunResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("spec-*.json")), ids=lambda path: path.stem)
def test_old_specs_still_parse(path: Path) -> None:
    """Every spec ever written by a release is understood."""
    assert RunSpec.model_validate_json(path.read_text()).contract_version == 1


def test_the_golden_result_means_what_it_did() -> None:
    """A parsed old result has the numbers and reasons that were written."""
    result = decode_result((GOLDEN / "result-1-vllm.json").read_text())
    measured, invalid, infeasible = result.trials
    assert isinstance(measured, Measured)
    assert isinstance(invalid, Invalid)
    assert isinstance(infeasible, Infeasible)
    assert measured.throughput_tokens_per_second == 1834.21
    assert measured.missing == {"gpu_memory_peak_bytes": "NoGpu", "pad_ratio": "NoPadding"}
    assert measured.concurrency_peak is None
    assert (invalid.reason, infeasible.reason) == ("UnstableRepeats", "GpuOutOfMemory")


def test_an_old_run_has_no_window_and_was_not_held() -> None:
    """Fields that older runners did not write are absent, and fields of newer runners are read."""
    old = decode_result((GOLDEN / "result-1-vllm.json").read_text())
    scraped = decode_result((GOLDEN / "result-1-scraped.json").read_text())
    assert isinstance(old.trials[0], Measured)
    assert isinstance(scraped.trials[0], Measured)
    assert (old.trials[0].window_seconds, old.held_seconds) == (None, None)
    assert (scraped.trials[0].window_seconds, scraped.held_seconds) == ((31.482, 62.117), 7.283)
    specs = [RunSpec.model_validate_json((GOLDEN / f"spec-1-{name}.json").read_text()) for name in ("vllm", "scraped")]
    assert [spec.scrape_grace_seconds for spec in specs] == [0, 45]


def test_an_adaptive_result_says_how_sure_it_is_and_what_was_raced_out() -> None:
    """An adaptive measurement has an interval, also where the message shortened names; a full one has none."""
    first, raced, second = decode_result((GOLDEN / "result-1-adaptive.json").read_text()).trials
    assert isinstance(first, Measured)
    assert isinstance(raced, RacedOut)
    assert isinstance(second, Measured)
    assert (first.mode, first.interval_tokens_per_second) == ("adaptive", (210.611, 214.234))
    assert (second.throughput_tokens_per_second, second.interval_tokens_per_second) == (230.1, (228.2, 232.1))
    assert (raced.at_most_tokens_per_second, raced.to_beat_tokens_per_second) == (19.07, 212.407)
    old = decode_result((GOLDEN / "result-1-scraped.json").read_text()).trials[0]
    assert isinstance(old, Measured)
    assert (old.mode, old.interval_tokens_per_second) == ("full", None)


def test_a_skipped_trial_says_why() -> None:
    """Trials come in the order in which they were measured; what was not worthwhile has a sentence and no number."""
    result = decode_result((GOLDEN / "result-1-skipped.json").read_text())
    assert [trial.batch_size for trial in result.trials] == [16, 8, 32, 64]
    _, after_larger, skipped, _ = result.trials
    assert isinstance(after_larger, Measured)
    assert isinstance(skipped, Skipped)
    assert after_larger.missing["gpu_memory_peak_bytes"] == "AfterLargerBatch"
    assert "1834.21 tokens/s, is below the 1900" in skipped.detail
    spec = RunSpec.model_validate_json((GOLDEN / "spec-1-companions.json").read_text())
    assert [trial.needs_tokens_per_second for trial in spec.trials] == [None, None, 1900.0, None]


def test_an_adaptive_spec_says_what_older_runners_do_not_know() -> None:
    """Only a spec that asks for an adaptive measurement has the keys that an older runner refuses."""
    spec = RunSpec.model_validate_json((GOLDEN / "spec-1-adaptive.json").read_text())
    assert (spec.measurement.mode, spec.measurement.interval_ratio) == ("adaptive", 0.02)
    assert spec.to_beat_tokens_per_second == 212.407
    assert json.loads(spec.model_dump_json())["measurement"]["mode"] == "adaptive"


def test_a_spec_without_a_hold_is_one_that_older_runners_know() -> None:
    """Older runners refuse unknown keys, so the key is omitted unless a hold is requested."""
    old, scraped = (json.loads((GOLDEN / f"spec-1-{name}.json").read_text()) for name in ("vllm", "scraped"))
    assert json.loads(RunSpec.model_validate(old).model_dump_json()).keys() == old.keys()
    assert json.loads(RunSpec.model_validate(scraped).model_dump_json())["scrape_grace_seconds"] == 45


def test_a_newer_writer_is_understood() -> None:
    """Unknown keys of a newer runner are ignored."""
    text = (GOLDEN / "result-1-broken.json").read_text().replace('"run":', '"tomorrow": {"a": 1}, "run":', 1)
    assert decode_result(text) == decode_result((GOLDEN / "result-1-broken.json").read_text())


@pytest.mark.parametrize("text", ["", "{}", "rubbish", '{"contract_version": 2, "run": "r"}', "[]"])
def test_what_is_not_a_result_is_refused(text: str) -> None:
    """Invalid text, and a version that does not exist yet, is an error."""
    with pytest.raises(ValidationError):
        decode_result(text)


def test_a_window_that_runs_backwards_is_refused() -> None:
    """A measured trial cannot have ended before it began."""
    text = (GOLDEN / "result-1-scraped.json").read_text().replace("[31.482,62.117]", "[62.117,31.482]")
    with pytest.raises(ValidationError, match="from <= to"):
        decode_result(text)


def test_absence_needs_a_reason() -> None:
    """A measured trial cannot leave a number out without saying why."""
    with pytest.raises(ValidationError, match="missing must give a reason"):
        Measured(
            index=0,
            batch_size=1,
            throughput_tokens_per_second=1.0,
            spread_ratio=0.0,
            repeats=3,
            generated_tokens=3,
            measured_seconds=3.0,
        )
