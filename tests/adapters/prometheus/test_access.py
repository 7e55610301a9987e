"""Authentication at Prometheus with the current content of mounted files, which is never shown."""

import asyncio
import ssl
from contextlib import aclosing
from pathlib import Path

import pytest

from adapters.prometheus.api import PrometheusApi, Scene, failure, number, play, prometheus_api, success
from controlplane.pki import Pki
from infpop_operator.adapters.prometheus.client import PrometheusClient
from infpop_operator.adapters.prometheus.promql import PROBE
from infpop_operator.settings import PrometheusSettings

SECRET = "s3cr3t-t0k3n"  # noqa: S105 - of a test
ALIVE = success("vector", [number("1")])


def test_a_token_is_read_for_every_request(tmp_path: Path) -> None:
    """A rotated Secret is used immediately."""
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n")

    async def scenario(scene: Scene) -> None:
        await scene.source.probe()
        token.write_text("another")
        await scene.source.probe()
        sent = [headers["Authorization"] for headers in scene.api.headers]
        assert sent == [f"Bearer {SECRET}", "Bearer another"]

    play(scenario, token_file=token)


def test_extra_headers_are_sent(tmp_path: Path) -> None:
    """A Mimir tenant header, for example; blanks around a value and empty lines are ignored."""
    headers = tmp_path / "headers"
    headers.write_text("X-Scope-OrgID: team-a\n\nX-Other:two words \t\r\nAuthorization: Basic eA==\n")

    async def scenario(scene: Scene) -> None:
        await scene.source.probe()
        (sent,) = scene.api.headers
        assert (sent["X-Scope-OrgID"], sent["X-Other"], sent["Authorization"]) == ("team-a", "two words", "Basic eA==")
        assert sent["User-Agent"].startswith("infpop/")

    play(scenario, headers_file=headers)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("token_file", None),
        ("token_file", b""),
        ("token_file", f"{SECRET}\n{SECRET}".encode()),
        ("token_file", f"{SECRET}\r\nX-Other: a".encode()),
        ("token_file", f"{SECRET}\xe9".encode()),
        ("headers_file", None),
        ("headers_file", SECRET.encode()),
        ("headers_file", f"X-Scope OrgID: {SECRET}".encode()),
        ("headers_file", f"X-Scope-OrgID: {SECRET}\0".encode()),
        ("headers_file", f"X-Scope-OrgID: {SECRET}\xff".encode()),
        ("headers_file", b"X-Scope-OrgID:"),
        ("ca_file", None),
        ("ca_file", b""),
        ("ca_file", SECRET.encode()),
    ],
)
def test_a_file_that_is_of_no_use_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes | None
) -> None:
    """The outage names the file and does not show its content. No query is sent without it."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)

    async def scenario(scene: Scene) -> None:
        await scene.source.probe()
        assert scene.source.outage is not None
        assert f"PrometheusUnreachable ({path}" in scene.source.outage
        assert SECRET not in scene.source.outage + caplog.text
        assert scene.api.questions == []

    play(scenario, **{name: path})


def test_a_refusal_does_not_contain_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """This holds even if the server repeats the token."""
    token = tmp_path / "token"
    token.write_text(SECRET)

    async def scenario(scene: Scene) -> None:
        scene.api.answers = [failure(401, error_type="unauthorized", text=f"unknown token {SECRET}")]
        await scene.source.probe()
        assert SECRET not in f"{scene.source.outage}{caplog.text}"

    play(scenario, token_file=token)


class Authority:
    """A certificate authority, and a server that requires client certificates."""

    def __init__(self, folder: Path) -> None:
        self.pki = Pki(folder)
        for name in ("server", "client", "other"):
            self.pki.issue(name, user=name, hosts=("IP:127.0.0.1",))

    def server_context(self, *, asks: bool) -> ssl.SSLContext:
        """Return the server's TLS settings."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.pki.ca)
        context.load_cert_chain(self.pki.certificate("server"), self.pki.key("server"))
        context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return one authority for all tests here, because creating keys takes time."""
    return Authority(tmp_path_factory.mktemp("pki"))


def outcome(authority: Authority, *, asks: bool, **files: Path | None) -> tuple[str, str]:
    """Return how a probe with these files ends, and its message."""

    async def go() -> tuple[str, str]:
        counted: list[str] = []
        async with prometheus_api(authority.server_context(asks=asks)) as api:
            settings = PrometheusSettings(url=api.url, **files)
            async with aclosing(PrometheusClient(settings, counted.append)) as client:
                reply = await client.ask(PROBE)
        return counted[0], getattr(reply, "detail", "")

    return asyncio.run(go())


def test_a_server_is_checked_with_the_authority_that_is_named(authority: Authority) -> None:
    """A private authority is trusted if it is configured, and not otherwise."""
    assert outcome(authority, asks=False, ca_file=authority.pki.ca) == ("ok", "")
    reason, detail = outcome(authority, asks=False)
    assert reason == "PrometheusUnreachable"
    assert "CERTIFICATE_VERIFY_FAILED" in detail


def test_a_server_that_requires_a_client_certificate_gets_it(authority: Authority) -> None:
    """The server accepts the operator with its client certificate and refuses it without one."""
    ca, certificate, key = authority.pki.ca, authority.pki.certificate("client"), authority.pki.key("client")
    assert outcome(authority, asks=True, ca_file=ca, cert_file=certificate, key_file=key) == ("ok", "")
    assert outcome(authority, asks=True, ca_file=ca)[0] == "PrometheusUnreachable"


def test_a_certificate_without_its_key_is_reported(authority: Authority) -> None:
    """The message names both files."""
    ca, certificate, key = authority.pki.ca, authority.pki.certificate("client"), authority.pki.key("other")
    reason, detail = outcome(authority, asks=True, ca_file=ca, cert_file=certificate, key_file=key)
    assert reason == "PrometheusUnreachable"
    assert detail == f"{certificate} and {key}: are not a certificate and its key"


def test_a_rotated_authority_is_used_immediately(authority: Authority, tmp_path: Path) -> None:
    """It is rotated twice, so that existing connections are closed as well."""
    path = tmp_path / "ca.crt"
    other = Pki(tmp_path / "other").ca.read_text()

    async def go() -> list[str]:
        counted: list[str] = []
        async with prometheus_api(authority.server_context(asks=False)) as api:
            settings = PrometheusSettings(url=api.url, ca_file=path)
            async with aclosing(PrometheusClient(settings, counted.append)) as client:
                for text in (other, authority.pki.ca.read_text(), other, authority.pki.ca.read_text()):
                    path.write_text(text)
                    await client.ask(PROBE)
        return counted

    assert asyncio.run(go()) == ["PrometheusUnreachable", "ok", "PrometheusUnreachable", "ok"]


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """A token goes only to the address in the settings."""
    token = tmp_path / "token"
    token.write_text(SECRET)

    async def scenario(scene: Scene) -> None:
        elsewhere: PrometheusApi
        async with prometheus_api() as elsewhere:
            scene.api.answers = [failure(307, Location=f"{elsewhere.url}/api/v1/query")]
            await scene.source.probe()
            assert elsewhere.questions == []

    play(scenario, token_file=token)
