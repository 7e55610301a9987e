"""The steps of a release, as the Makefile calls them: `python -m release STEP`."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from release.artifacts import Artifacts
from release.chart import Publication, package_chart
from release.errors import ReleaseError
from release.publication import Programs, problems_of_place, publish
from release.verification import verify
from release.versions import CHANGELOG, Sources, disagreements, missing_for_publication, read_sources

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Carry out one step; return 1 with the reason on standard error if the release cannot go on."""
    options = _parse()
    try:
        for line in _carry_out(options, read_sources(ROOT)):
            sys.stdout.write(f"{line}\n")
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("step", choices=["check", "ready", "chart", "verify", "publish"])
    parser.add_argument("--registry", default="", help="where images and chart are published, HOST/PATH")
    parser.add_argument("--repository", default="", help="where the sources are, https://HOST/PATH")
    parser.add_argument("--builder", default="docker", help="docker, podman or buildah")
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--cosign", default="cosign")
    return parser.parse_args()


def _carry_out(options: argparse.Namespace, sources: Sources) -> Iterable[str]:
    artifacts = Artifacts(folder=ROOT / "dist", version=sources.version)
    uv = str(Path(sys.executable).with_name("uv"))
    programs = Programs(uv=uv, helm=options.helm, builder=options.builder, cosign=options.cosign)
    registry = options.registry or None
    match options.step:
        case "check":
            _stop_at(disagreements(sources))
            return [
                f"Everything names version {sources.version}.",
                *(f"To do before it is published: {sentence}" for sentence in missing_for_publication(sources)),
            ]
        case "ready":
            place = problems_of_place(options.registry, options.repository, programs)
            _stop_at((*disagreements(sources), *missing_for_publication(sources), *place))
            return [f"Version {sources.version} can be published to {options.registry}."]
        case "chart":
            publication = _publication(options, sources) if registry else None
            package_chart(ROOT / "charts/infpop", artifacts, helm=options.helm, publication=publication)
            return []
        case "verify":
            lock = ROOT / "requirements-operator.txt"
            with tempfile.TemporaryDirectory(prefix="release-") as scratch:
                return verify(artifacts, uv=uv, helm=options.helm, registry=registry, lock=lock, scratch=Path(scratch))
        case _:
            pulled = publish(artifacts, registry=options.registry, programs=programs)
            return ["Published, signed:", *pulled]


def _publication(options: argparse.Namespace, sources: Sources) -> Publication:
    return Publication(
        version=sources.version,
        registry=options.registry,
        repository=options.repository or None,
        changelog=sources.texts[CHANGELOG],
    )


def _stop_at(sentences: tuple[str, ...]) -> None:
    if sentences:
        raise ReleaseError("\n".join(sentences))


if __name__ == "__main__":
    sys.exit(main())
