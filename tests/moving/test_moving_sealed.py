"""A store with an encrypted domain moves sealed."""

from __future__ import annotations

from pathlib import Path

from encrypted import KEY, configured, keyring, traces
from keep import Publisher, blob, digest
from movers import Move, started
from servers import free_port
from standins import Registry


def prepared(folder: Path, registry: Registry) -> tuple[Move, str]:
    """A move of a store with an encrypted domain, and the text of its target's configuration."""
    before = configured(folder, registry)
    keyring(before).add(KEY)
    after = type(before)(folder=folder / "after", port=free_port())
    after.folder.mkdir()
    text = (before.folder / "entrepot.toml").read_text()
    text = text.replace(f"port = {before.port}", f"port = {after.port}")
    text = text.replace(f'path = "{folder}/data"', f'path = "{after.folder}/data"')
    (after.folder / "entrepot.toml").write_text(text)
    return Move(before, after, registry, ""), text


def test_an_encrypted_domain_is_sealed_at_the_target_too(
    tmp_path: Path, registry: Registry
) -> None:
    move, text = prepared(tmp_path, registry)
    before, after = move.before, move.after
    bare, _, rest = text.replace(f'encryption_key = "{KEY}"\n', "").partition("[encryption]")
    (after.folder / "entrepot.toml").write_text(f"{bare}[{rest.partition(chr(10) + '[')[2]}")
    with started(before):
        publisher = Publisher.of(before)
        content = publisher.publish("kit", "1.0", padding=2_000_000)
        refused = move.run()
        assert refused.code == 1
        assert "give it the [encryption] of the source" in refused.err
        (after.folder / "entrepot.toml").write_text(text)
        assert move.run("--no-switch").code == 0
        later = publisher.publish("kit", "1.1", padding=2_000_000)
        done = move.run()
        assert done.code == 0, done.err
        assert (
            "copied 1 blobs" in done.out or "copied 2 blobs" in done.out
        )  # and no core metadata twice
    for bytes_of in (content, later):
        assert traces(after.folder / "data", bytes_of[len(bytes_of) // 2 :][:48]) == []
    assert after.check() == (0, "")
    with started(after):
        assert publisher.lost(after) == []


def test_a_sealed_blob_that_is_damaged_is_named_and_nothing_is_switched(
    tmp_path: Path, registry: Registry
) -> None:
    move, _ = prepared(tmp_path, registry)
    with started(move.before) as server:
        publisher = Publisher.of(server)
        content = publisher.publish("kit", "1.0", padding=2_000_000)
        damaged = blob(server, digest(content))
        sealed = bytearray(damaged.read_bytes())
        sealed[-100] ^= 1
        damaged.write_bytes(sealed)
        refused = move.run()
        assert refused.code == 1
        assert f"blob {digest(content)} cannot be unsealed" in refused.out
        publisher.publish("kit", "1.1")  # the source takes changes
