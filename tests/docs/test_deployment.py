"""The examples of deployments refer to what exists: probes, ports, keys, secrets, files, times."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tools import command

from proxy import observe
from proxy.config import Config, load
from proxy.serving import DRAIN_S
from proxy.web import probes
from storage.settings import PostgresSettings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
PROBES = {route.path for route in probes.routes(lambda: None)}
TO_JSON = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
URL = "postgresql://entrepot:p@db:5432/entrepot"


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file, read by the parser that comes with AWS's command line."""
    python = Path(command("aws")).parent / "python"
    text = path.read_text()
    done = subprocess.run(
        [python, "-c", TO_JSON], input=text, capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stdout))


def accepted(
    text: str, folder: Path, secrets: str, keys: set[str], environ: dict[str, str]
) -> Config:
    """The configuration of a text whose secrets lie in files of these names."""
    for key in keys:
        (folder / key).write_text("a-secret-that-is-long-enough\n")
    assert set(re.findall(rf'"{secrets}/([^"]+)"', text)) <= keys
    path = folder / "entrepot.toml"
    path.write_text(text.replace(secrets, str(folder)))
    return load(path, environ)


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    found = documents(EXAMPLES / "kubernetes/entrepot.yaml")
    assert all({"apiVersion", "kind", "metadata"} <= one.keys() for one in found)
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    [found] = documents(EXAMPLES / "compose/compose.yaml")
    return found


def pods(manifests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        manifests["Deployment"]["spec"]["template"]["spec"],
        manifests["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"],
    ]


def test_the_pods_configuration_is_accepted(
    manifests: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    text = manifests["ConfigMap"]["data"]["entrepot.toml"]
    keys = set(manifests["Secret"]["stringData"])
    for pod in pods(manifests):
        [container] = pod["containers"]
        names = {one["name"]: one["valueFrom"]["secretKeyRef"]["key"] for one in container["env"]}
        assert set(names.values()) <= keys
        config = accepted(text, tmp_path, "/etc/entrepot-secrets", keys, dict.fromkeys(names, URL))
        assert config.storage.catalogue == URL
        assert (
            config.server.port
            == manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"][0][
                "containerPort"
            ]
        )
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
        assert {"/etc/entrepot", "/etc/entrepot-secrets", "/tmp", config.storage.path} == set(
            mounts
        )
        assert container["args"][-1] == "/etc/entrepot/entrepot.toml"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_pods_are_asked_where_the_server_answers_and_stop_as_it_drains(
    manifests: dict[str, dict[str, Any]],
) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    for kind, path in (("startup", "/healthz"), ("readiness", "/readyz"), ("liveness", "/healthz")):
        asked = container[f"{kind}Probe"]["httpGet"]
        assert asked == {"path": path, "port": "http"}
        assert path in PROBES
    assert container["readinessProbe"]["timeoutSeconds"] > probes.PATIENCE_S
    waited = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > waited + DRAIN_S
    assert (
        f"useradd --system --uid {pod['securityContext']['runAsUser']} "
        in (ROOT / "Dockerfile").read_text()
    )
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    scaled = manifests["HorizontalPodAutoscaler"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    assert (
        f"at most {PostgresSettings().connections + 1} connections"
        in (EXAMPLES / "kubernetes/entrepot.yaml").read_text()
    )


def test_what_compose_names_exists(compose: dict[str, Any], tmp_path: Path) -> None:
    services = compose["services"]
    for service in services.values():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in services[other] or services[other]["image"] == "entrepot"
        assert {one["source"] for one in service.get("configs", [])} <= compose["configs"].keys()
        assert set(service.get("secrets", [])) <= compose["secrets"].keys()
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]
    for config in compose["configs"].values():
        assert (EXAMPLES / "compose" / config["file"]).is_file()
    server = services["entrepot-1"]
    assert int(server["stop_grace_period"].removesuffix("s")) > DRAIN_S
    assert (EXAMPLES / "compose" / server["build"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    config = accepted(
        (EXAMPLES / "compose/entrepot.toml").read_text(),
        tmp_path,
        "/run/secrets",
        set(server["secrets"]),
        dict.fromkeys(server["environment"], URL),
    )
    assert config.storage.catalogue == URL
    balancer = (EXAMPLES / "compose/balancer.conf").read_text()
    for name in ("entrepot-1", "entrepot-2"):
        assert f"server {name}:{config.server.port} " in balancer
        assert name in services
    [published] = services["balancer"]["ports"]
    assert config.public_url == "http://" + published.rpartition(":")[0]
    assert f"listen {published.rpartition(':')[2]};" in balancer
    [identity] = json.loads((EXAMPLES / "compose/s3.json").read_text())["identities"]
    assert identity["credentials"][0]["accessKey"] == config.storage.s3.access_key_id


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd is not installed")
    text = (EXAMPLES / "systemd/entrepot.service").read_text()
    wait = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert wait is not None and int(wait[1]) > DRAIN_S
    assert "/readyz" in text and "/readyz" in PROBES
    unit = tmp_path / "entrepot.service"
    for program in ("/opt/entrepot/bin/entrepot", "/usr/bin/curl"):
        assert program in text
        text = text.replace(program, "/bin/true")
    unit.write_text(text)
    done = subprocess.run(
        [found, "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "entrepot" in line]
    assert (done.returncode, said) == (0, [])


def test_every_metric_that_the_documents_name_exists() -> None:
    exposed = observe.exposition()[0].decode()
    known = set(re.findall(r"^# TYPE (entrepot_\w+) ", exposed, re.MULTILINE))
    for page in ("operating.md", "limits.md"):
        named = set(re.findall(r"\b(entrepot_[a-z_]+[a-z])\b", (ROOT / "docs" / page).read_text()))
        for name in named:
            assert name.removesuffix("_bucket").removesuffix("_count") in known, name
