"""An encrypted domain: served like any other, and nothing of its content lies on the disk as it is."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aws
import keep
import kms
import pytest
from encrypted import KEY, configured, keyring, traces
from keep import Publisher, blob, run
from servers import Entrepot, Reply, clean_environment, free_port
from standins import Offer, Registry
from tools import command

from storage.sealing import FRAME, HEADER, sealed_size

MIB = 1 << 20
LARGE = 3 * MIB + 12_345
CANARY = "the-canary-that-nobody-must-find-on-a-disk"


@pytest.fixture
def server(tmp_path: Path, registry: Registry) -> Iterator[Entrepot]:
    made = configured(tmp_path, registry)
    keyring(made).add(KEY)
    made.start()
    yield made
    made.stop()


def path_of(offer: Offer, domain: str = "acme") -> str:
    name, version = offer.name.split("-")[:2]
    return f"/d/{domain}/pypi/team/simple/{name}/{version}/{offer.name}"


def test_nothing_of_an_encrypted_domain_lies_on_the_disk_as_it_is(
    server: Entrepot, registry: Registry, tmp_path: Path
) -> None:
    offer = registry.offers("anvil", "1.0", padding=LARGE)
    assert server.get(path_of(offer)).body == offer.content
    author = Publisher.of(server)
    published = author.publish("our-kit", "1.0", padding=MIB + 5)
    token = author.headers["Authorization"].removeprefix("Bearer ")
    npm_publish(server, tmp_path / "kit", token)
    packument = server.get("/d/acme/npm/team/our-npm-kit").body
    assert CANARY.encode() in packument
    middle = [content[len(content) // 2 :][:48] for content in (offer.content, published)]
    canaries = [CANARY.encode(), *middle, offer.content[:64], b"Requires-Dist"]

    found = traces(server.folder / "data", *canaries)
    server.stop()  # its log of writes is put into the catalogue

    assert found == traces(server.folder / "data", *canaries) == []
    assert traces(server.folder / "data", b"our-npm-kit")  # names are not sealed: the search finds
    server.start()
    assert CANARY.encode() in server.get("/d/acme/npm/team/our-npm-kit").body
    assert author.lost(server) == []
    assert server.check() == (0, "")


def npm_publish(server: Entrepot, folder: Path, token: str) -> None:
    folder.mkdir()
    manifest = {"name": "our-npm-kit", "version": "1.0.0", "description": CANARY, "main": "a.js"}
    (folder / "package.json").write_text(json.dumps(manifest))
    (folder / "a.js").write_text(f"// {CANARY}\n")
    (folder / "README.md").write_text(f"{CANARY}\n")
    base = server.npm()
    (folder / ".npmrc").write_text(f"{base.partition(':')[2]}:_authToken={token}\n")
    npm(folder, "publish", "--registry", base)


def npm(folder: Path, *words: str) -> None:
    line = [command("npm"), *words, "--cache", folder / "cache", "--no-audit", "--no-fund"]
    done = subprocess.run(
        line, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_real_pip_and_npm_install_from_an_encrypted_domain(
    server: Entrepot, registry: Registry, tmp_path: Path
) -> None:
    registry.offers("anvil", "1.0", padding=LARGE)
    token = server.token(keep.UPLOADER, scope="publish")
    npm_publish(server, tmp_path / "kit", token)
    line = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps", "--target"]
    for number in (1, 2):  # arriving, and stored
        done = subprocess.run(
            [*line, tmp_path / f"into{number}", "--index-url", server.index(), "anvil"],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    app = tmp_path / "app"
    app.mkdir()
    (app / "package.json").write_text('{"name": "app", "version": "1.0.0"}')
    npm(app, "install", "our-npm-kit", "--registry", server.npm(), "--userconfig", os.devnull)
    assert CANARY in (app / "node_modules/our-npm-kit/a.js").read_text()


def test_what_is_sealed_is_served_like_what_is_not(server: Entrepot, registry: Registry) -> None:
    offer = registry.offers("anvil", "1.0", padding=LARGE)
    size = len(offer.content)
    for domain in ("acme", "open"):
        assert server.get(path_of(offer, domain)).body == offer.content  # arriving
    assert blob_files(server, offer) == [sealed_size(size), size]
    etag = server.get(path_of(offer), method="HEAD").headers["etag"]
    asked = [
        {},
        {"method": "HEAD"},
        {"Range": "bytes=0-0"},
        {"Range": f"bytes={MIB - 3}-{MIB + 2}"},
        {"Range": f"bytes={2 * MIB + 17}-"},
        {"Range": f"bytes={3 * MIB}-{3 * MIB + 99}"},
        {"Range": "bytes=-10"},
        {"Range": "bytes=-2000000"},
        {"Range": f"bytes={size}-"},
        {"Range": f"bytes=100-{size * 2}"},
        {"Range": "bytes=5-9", "If-Range": etag},
        {"Range": "bytes=5-9", "If-Range": '"another"'},
        {"If-None-Match": etag},
    ]
    for values in asked:
        sealed, plain = (
            server.get(path_of(offer, domain), **values) for domain in ("acme", "open")
        )
        assert told(sealed) == told(plain), values


def told(reply: Reply) -> tuple[object, ...]:
    known = ("content-length", "content-range", "etag", "accept-ranges", "content-type")
    return reply.status, {name: reply.headers.get(name) for name in known}, reply.body


def blob_files(server: Entrepot, offer: Offer) -> list[int]:
    digest = offer.sha256
    found = (server.folder / "data/blobs").glob(f"*/{digest[:2]}/{digest[2:4]}/{digest}")
    return sorted((path.stat().st_size for path in found), reverse=True)


def test_the_first_bytes_of_a_cold_file_do_not_wait_for_the_last(
    server: Entrepot, registry: Registry
) -> None:
    other = Entrepot(folder=server.folder, port=keep_port(server))
    other.start()
    offer = registry.offers("anvil", "1.0", padding=2 * LARGE)
    registry.hold = threading.Event()
    heads = [read_head(one, path_of(offer), 2 * MIB) for one in (server, other)]
    assert [head for _, head in heads] == [offer.content[: 2 * MIB]] * 2
    assert traces(server.folder / "data", offer.content[MIB : MIB + 48]) == []
    registry.hold.set()
    for connection, head in heads:
        assert head + connection.reply.read() == offer.content
        connection.close()
    other.stop()
    assert registry.asked[f"/files/{offer.name}"] == 1


def test_a_small_cold_file_is_followed_before_its_first_frame_is_full(
    server: Entrepot, registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0", padding=400_000)
    registry.hold = threading.Event()
    connection, head = read_head(server, path_of(offer), 100_000)
    assert head == offer.content[:100_000]
    registry.hold.set()
    assert head + connection.reply.read() == offer.content
    connection.close()


def keep_port(server: Entrepot) -> int:
    """A free port, put into the configuration that the next server reads."""
    port = free_port()
    config = server.folder / "entrepot.toml"
    config.write_text(config.read_text().replace(f"port = {server.port}", f"port = {port}"))
    return port


def read_head(server: Entrepot, path: str, wanted: int) -> tuple[http.client.HTTPConnection, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path)
    reply = connection.getresponse()
    assert reply.status == 200
    connection.reply = reply
    return connection, reply.read(wanted)


def test_a_server_that_dies_while_it_seals_leaves_nothing(
    server: Entrepot, registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0", padding=2 * LARGE)
    registry.hold = threading.Event()
    connection, _ = read_head(server, path_of(offer), 2 * MIB)
    server.stop(9)
    connection.close()
    registry.hold.set()
    left = list((server.folder / "data/blobs/incoming").iterdir())
    assert len(left) == 1
    assert left[0].stat().st_size >= HEADER + 2 * FRAME
    assert traces(server.folder / "data", offer.content[MIB : MIB + 48]) == []
    registry.hold = None

    server.start()

    assert list((server.folder / "data/blobs/incoming").iterdir()) == []
    assert server.check() == (0, "")
    assert server.get(path_of(offer)).body == offer.content


def test_a_missing_key_stops_its_domain_alone(server: Entrepot, registry: Registry) -> None:
    offer = registry.offers("anvil", "1.0")
    for domain in ("acme", "open"):
        assert server.get(path_of(offer, domain)).status == 200
    server.stop()
    (server.folder / "keyring").rename(server.folder / "away")

    server.start()

    refused = server.get(path_of(offer))
    assert refused.status == 503
    assert b"the domain acme is encrypted with the key team" in refused.body
    assert server.get("/d/acme/pypi/team/simple/anvil/").status == 503
    npm = server.get("/d/acme/npm/team/anything")
    assert (npm.status, "the key team" in json.loads(npm.body)["error"]) == (503, True)
    assert server.get(path_of(offer, "open")).body == offer.content
    admin = aws.client(server)
    arn = admin.describe_domain(domain="acme")["domain"]["encryptionKey"]
    assert arn == f"arn:aws:kms:us-east-1:111122223333:key/{KEY}"
    assert str(server.folder) not in refused.body.decode()
    assert "keyring" in server.log()
    code, said = server.check()
    assert (code, said.count("acme"), said.count("cannot be verified")) == (1, 2, 1)
    assert "not to be had" in server.command("keys", "list", succeeds=False)

    (server.folder / "away").rename(server.folder / "keyring")

    deadline = time.monotonic() + 30
    while (reply := server.get(path_of(offer))).status == 503:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert reply.body == offer.content


def test_keys_are_rotated_under_a_running_server(server: Entrepot, registry: Registry) -> None:
    offer = registry.offers("anvil", "1.0", padding=LARGE)
    assert server.get(path_of(offer)).body == offer.content
    file = blob(server, offer.sha256)
    before = file.read_bytes()
    assert server.command("keys", "list") == "acme: keyring team version 1, the newest\n"

    server.command("keys", "new", KEY)
    assert "the newest is 2" in server.command("keys", "list")
    assert server.command("keys", "rotate", "--domain", "acme").startswith("acme: team version 1")

    assert server.command("keys", "list") == "acme: keyring team version 2, the newest\n"
    assert file.read_bytes() == before
    ring = server.folder / "keyring"
    kept = [line for line in ring.read_text().splitlines() if not line.startswith("1 =")]
    ring.write_text("\n".join(kept))  # the old version is not needed any more
    assert server.get(path_of(offer)).body == offer.content
    server.stop()
    server.start()
    assert server.get(path_of(offer)).body == offer.content
    assert server.check() == (0, "")


def test_the_control_plane_tells_keys_and_refuses_unknown_ones(server: Entrepot) -> None:
    admin = aws.client(server)
    made = admin.create_domain(domain="sealed", encryptionKey=KEY)["domain"]
    arn = f"arn:aws:kms:us-east-1:111122223333:key/{KEY}"
    assert made["encryptionKey"] == arn
    again = admin.create_domain(domain="also-sealed", encryptionKey=arn)["domain"]
    assert again["encryptionKey"] == arn
    plain = admin.create_domain(domain="not-sealed")["domain"]
    assert plain["encryptionKey"] != arn

    for name in ("nobodys", "arn:aws:kms:us-east-1:111122223333:key/nobodys", "not/a/name"):
        failed = aws.failure(admin.create_domain, domain="never", encryptionKey=name)
        assert (failed.code, failed.body["reason"]) == (
            "ValidationException",
            "ENCRYPTION_KEY_ERROR",
        )
    keys = {one["name"]: one["encryptionKey"] for one in admin.list_domains()["domains"]}
    assert keys == {
        "acme": arn,
        "open": keys["open"],
        "sealed": arn,
        "also-sealed": arn,
        "not-sealed": plain["encryptionKey"],
    }
    listed = server.command("keys", "list")
    assert [line.partition(":")[0] for line in listed.splitlines()] == [
        "acme",
        "also-sealed",
        "sealed",
    ]
    admin.delete_domain(domain="sealed")
    assert admin.create_domain(domain="sealed")["domain"]["encryptionKey"] != arn


def test_a_keyring_that_others_can_read_is_refused(tmp_path: Path, registry: Registry) -> None:
    server = configured(tmp_path, registry)
    keyring(server).add(KEY)
    (tmp_path / "keyring").chmod(0o640)
    done = run(server, "serve")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "mode 0640: others can read it" in done.err


def test_a_domain_that_cannot_be_encrypted_is_not_made(tmp_path: Path, registry: Registry) -> None:
    server = configured(tmp_path, registry)
    keyring(server).add("another")
    done = run(server, "serve")
    assert (done.code, done.err) == (2, "the keyring has no key team\n")
    assert keep.rows(server, "SELECT name FROM domain") == []


def test_damage_is_found_set_aside_and_fetched_again(server: Entrepot, registry: Registry) -> None:
    offers = [registry.offers("anvil", version, padding=LARGE) for version in ("1", "2", "3")]
    for offer in offers:
        assert server.get(path_of(offer)).body == offer.content
    server.stop()  # and with it the frames that it has in memory
    first, second, third = (blob(server, offer.sha256) for offer in offers)
    keep.rot(first)
    third.write_bytes(second.read_bytes())  # whole, and another's
    with second.open("r+b") as file:
        file.seek(HEADER + 2 * FRAME + 500)
        file.write(b"changed")
    server.start()
    with pytest.raises(http.client.IncompleteRead):
        server.get(path_of(offers[1]))  # what cannot be believed is not finished
    assert server.get(path_of(offers[1]), Range="bytes=0-999").body == offers[1].content[:1000]
    assert server.get(path_of(offers[2])).status == 500

    code, said = server.check()
    assert (code, said.count("cannot be unsealed")) == (1, 3)
    assert run(server, "check", "--repair").out.count("fetched again") == 3

    assert server.check() == (0, "")
    assert [server.get(path_of(offer)).body for offer in offers] == [one.content for one in offers]


@pytest.mark.parametrize("words", [[], ["--copy"]], ids=["linked", "copied"])
def test_a_backup_holds_sealed_bytes_and_is_brought_back(
    server: Entrepot, registry: Registry, words: list[str]
) -> None:
    offer = registry.offers("anvil", "1.0", padding=LARGE)
    assert server.get(path_of(offer)).body == offer.content
    author = Publisher.of(server)
    author.publish("our-kit", "1.0", padding=MIB)
    folder = server.folder / "backup"

    server.command("backup", folder, *words)
    assert "0 linked, 0 copied" in server.command("backup", folder, *words)

    assert traces(folder, offer.content[MIB : MIB + 48]) == []
    server.stop()
    (server.folder / "data").rename(server.folder / "lost")
    ring = server.folder / "keyring"
    if words:  # without the key, too; then nothing is verified
        ring.rename(server.folder / "away")
        assert "cannot be verified" in server.command("restore", folder, succeeds=False)
        (server.folder / "away").rename(ring)
    else:
        server.command("restore", folder)
    server.start()
    assert server.get(path_of(offer)).body == offer.content
    assert author.lost(server) == []
    assert server.check() == (0, "")


def test_a_restore_refuses_sealed_bytes_that_were_changed(
    server: Entrepot, registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0", padding=LARGE)
    assert server.get(path_of(offer)).body == offer.content
    folder = server.folder / "backup"
    server.command("backup", folder, "--copy")
    server.stop()
    (server.folder / "data").rename(server.folder / "lost")
    digest = offer.sha256
    [saved] = (folder / "blobs").glob(f"*/{digest[:2]}/{digest[2:4]}/{digest}")
    with saved.open("r+b") as file:
        file.seek(HEADER + FRAME)
        file.write(b"changed")
    assert "cannot be unsealed" in server.command("restore", folder, succeeds=False)
    assert list((server.folder / "data").iterdir()) == []


def test_gc_removes_sealed_blobs_that_nothing_needs(server: Entrepot, registry: Registry) -> None:
    author = Publisher.of(server)
    kept = author.publish("our-kit", "1.0", padding=MIB)
    gone = author.publish("our-kit", "2.0", padding=MIB)
    aws.client(server).delete_package_versions(
        domain="acme", repository="team", format="pypi", package="our-kit", versions=["2.0"]
    )
    server.stop()
    with keep.sqlite3.connect(server.folder / "data/catalogue.sqlite3") as catalogue:
        catalogue.execute("UPDATE blob SET touched_at = 1")
        catalogue.execute("UPDATE revision SET created_at = 1")
    catalogue.close()
    for path in server.blobs():
        os.utime(path, (1, 1))

    said = server.command("gc")

    assert said.startswith(f"removed 1 blobs of {len(gone)} bytes")
    names = {path.name for path in server.blobs()}
    assert keep.digest(kept) in names
    assert keep.digest(gone) not in names
    assert server.check() == (0, "")


def test_a_server_without_the_provider_does_not_touch_an_encrypted_domain(
    server: Entrepot, registry: Registry
) -> None:
    offer = registry.offers("anvil", "1.0")
    assert server.get(path_of(offer)).body == offer.content
    server.stop()
    config = server.folder / "entrepot.toml"
    before = config.read_text()
    plain = before.replace('provider = "keyring"', 'provider = "none"')
    config.write_text(plain.replace(f'encryption_key = "{KEY}"', ""))
    server.start()
    assert server.get(path_of(offer)).status == 503
    assert server.get(path_of(offer, "open")).body == offer.content
    assert run(server, "check", "--repair").out.count("\n") == 1
    server.stop()
    config.write_text(before)
    server.start()
    assert server.get(path_of(offer)).body == offer.content
    assert server.check() == (0, "")


@pytest.fixture
def service() -> Iterator[kms.Kms]:
    made = kms.Kms()
    yield made
    made.stop()


@pytest.mark.parametrize("provider", ["environment", "aws-kms"])
def test_other_providers_serve_and_rotate_as_well(
    provider: str,
    tmp_path: Path,
    registry: Registry,
    service: kms.Kms,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    service.add(KEY)
    for name, value in (
        ("ENTREPOT_KEY_TEAM", old),
        ("ENTREPOT_ENCRYPTION__KMS__ENDPOINT", service.url),
        ("ENTREPOT_ENCRYPTION__KMS__REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAKMSKMSKMSKMSKMS0"),
        ("AWS_SECRET_ACCESS_KEY", "a secret"),
    ):
        monkeypatch.setenv(name, value)
    server = configured(tmp_path, registry, provider=provider, key=f"alias/{KEY}")
    server.start()
    try:
        offer = registry.offers("anvil", "1.0", padding=LARGE)
        assert server.get(path_of(offer)).body == offer.content
        shown = aws.client(server).describe_domain(domain="acme")["domain"]["encryptionKey"]
        assert shown.startswith("arn:aws:kms:us-east-1:111122223333:key/")
        assert traces(tmp_path / "data", offer.content[MIB : MIB + 48], old.encode()) == []

        service.add(KEY)
        monkeypatch.setenv("ENTREPOT_KEY_TEAM", new)
        monkeypatch.setenv("ENTREPOT_KEY_TEAM_OLD", old)
        assert server.command("keys", "rotate").startswith("acme: ")
        monkeypatch.delenv("ENTREPOT_KEY_TEAM_OLD")
        server.stop()
        server.start()
        assert server.get(path_of(offer)).body == offer.content
        assert "keyring" in server.command("keys", "new", KEY, succeeds=False)
        used = {"DescribeKey", "Encrypt", "Decrypt"} if provider == "aws-kms" else set()
        assert set(service.asked) == used
    finally:
        server.stop()
