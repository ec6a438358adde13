"""What `deploy/` holds, by parsing it: no container engine and no cluster is at hand here.

So these tests know the files' rules and that they fit the code, not that an engine takes them.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from voicetone.errors import DataError
from voicetone.server.keys import new_key
from voicetone.server.settings import Settings, read_settings
from voicetone.server.store import make_store
from voicetone.server.workers import GRACE

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
USER = 10001
IMAGE = "voicetone"


# -- the Dockerfile ------------------------------------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, each with its arguments on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(word.upper(), rest.strip()) for word, _, rest in found]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage."""
    made: list[list[tuple[str, str]]] = []
    for word, rest in instructions((DEPLOY / "Dockerfile").read_text("utf-8")):
        if word == "FROM":
            made.append([])
        if made:
            made[-1].append((word, rest))
    return made


def of(stage: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in stage if name == word]


def environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    pairs = [pair for rest in of(stage, "ENV") for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def allowed(path: str) -> bool:
    """Whether `.dockerignore` lets a path into the build: its first rule leaves out everything."""
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    kept = [rule[1:].rstrip("/") for rule in rules if rule.startswith("!")]
    return any(path.rstrip("/") == one or path.startswith(f"{one}/") for one in kept)


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    *_, last = stages()
    assert of(last, "USER") == [f"{USER}:{USER}"]
    after = [word for word, _ in last][[word for word, _ in last].index("USER") :]
    assert not {"RUN", "COPY"} & set(after)


def test_base_images_have_a_version_and_no_host_is_named() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    defaults = dict(rest.split("=", 1) for rest in of(instructions(text), "ARG"))
    assert len(stages()) == 2
    for stage in stages():
        image = of(stage, "FROM")[0].split()[0]
        for name, value in defaults.items():
            image = image.replace(f"${{{name}}}", value)
        name, colon, tag = image.partition(":")
        assert colon
        assert tag[:1].isdigit()
        assert "/" not in name
    assert "latest" not in text
    assert "://" not in text.replace("http://127.0.0.1:8765/healthz", "")
    assert not re.search(r"--(extra-)?index-url|--trusted-host|--find-links", text)


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    assert not [word for stage in stages() for word, _ in stage if word == "ADD"]
    for stage in stages():
        for rest in of(stage, "COPY"):
            *sources, _ = [word for word in rest.split() if not word.startswith("--")]
            if "--from=build" in rest:
                assert sources == ["/opt/voicetone"]
                continue
            for source in sources:
                assert (ROOT / source).exists(), source
                assert allowed(source), source
    for secret in ("deploy/secrets/keys.toml", "voicetone.db", ".git/config", "runs/x"):
        assert not allowed(secret)


def test_what_the_build_of_the_package_needs_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    copied = " ".join(of(stages()[0], "COPY")).split()
    assert {project["readme"], *project["license-files"], "src/", "pyproject.toml"} <= set(copied)


def test_packages_are_declared_and_pinned() -> None:
    """Only folders of this repository with known extras; what they bring is in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    installs = [shlex.split(run) for run in of(stages()[0], "RUN") if " install " in run]
    assert len(installs) == 1
    words = installs[0][installs[0].index("install") + 1 :]
    assert words[:2] == ["-c", "constraints.txt"]
    for word in words[2:]:
        folder, _, extras = word.partition("[")
        assert folder.startswith(".")
        assert (ROOT / folder / "pyproject.toml").exists()
        wanted = {e for e in extras.rstrip("]").split(",") if e}
        assert wanted <= set(project["optional-dependencies"])
    assert missing_pins(("postgres", "serve")) == set()


def missing_pins(extras: tuple[str, ...]) -> set[str]:
    """Packages that these extras bring and constraints.txt does not pin."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    waiting = [Requirement(r) for e in extras for r in optional[e]]
    waiting += [Requirement(r) for r in project["dependencies"]]
    seen: set[str] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in seen and not one.extras:
            continue
        seen.add(name)
        for text in requires(name) or []:
            more = Requirement(text)
            if more.marker is None or any(
                more.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)
            ):
                waiting.append(more)
    return seen - pins


def test_the_last_stage_installs_nothing() -> None:
    build, last = stages()
    for run in of(last, "RUN"):
        assert not re.search(r"\b(pip|apt-get|apt|apk|gcc|make|curl|wget)\b", run), run
    assert any("--without-pip" in run for run in of(build, "RUN"))
    assert environment(last)["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment(last)["PYTHONDONTWRITEBYTECODE"] == "1", "the disk may be read-only"


def test_the_image_checks_its_health_and_starts_the_server() -> None:
    *_, last = stages()
    (check,) = of(last, "HEALTHCHECK")
    assert "/healthz" in check
    settings = Settings()
    assert f":{settings.port}/" in check
    assert of(last, "EXPOSE") == [str(settings.port)]
    assert of(last, "ENTRYPOINT") == ['["voicetone"]']
    (command,) = of(last, "CMD")
    copied = [rest.split()[-1] for rest in of(last, "COPY")]
    verb, option, path = yaml.safe_load(command)
    assert (verb, option) == ("serve", "--config")
    assert path in copied


# -- settings ------------------------------------------------------------------------------------


def with_keys(text: str, folder: Path) -> Settings:
    """The settings of a file whose keys are in a file of this folder."""
    (folder / "keys.toml").write_text(new_key("desk")[1])
    (folder / "server.toml").write_text(text)
    return read_settings(folder / "server.toml", [f"keys_file={str(folder / 'keys.toml')!r}"])


def kubernetes() -> dict[str, dict[str, Any]]:
    """The objects by their kind."""
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


def compose() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return made


def settings_files() -> Iterator[str]:
    yield (DEPLOY / "server.toml").read_text("utf-8")
    yield kubernetes()["ConfigMap"]["data"]["server.toml"]


@pytest.mark.parametrize("text", list(settings_files()), ids=["image", "kubernetes"])
def test_settings_are_those_of_a_server_beyond_this_machine(text: str, tmp_path: Path) -> None:
    wanted = tomllib.loads(text)["keys_file"]
    text = re.sub(r"^keys_file.*$", "", text, flags=re.MULTILINE)
    settings = with_keys(text, tmp_path)
    assert wanted == "/run/secrets/voicetone/keys.toml"
    assert not settings.loopback
    assert settings.keys
    assert settings.store.url.startswith("postgresql+psycopg://")
    assert make_store(settings.store) is not None
    assert str(settings.store.spill).startswith("/data/")
    assert settings.store.retention_days == Settings().store.retention_days


def test_the_notice_of_the_image_is_the_usual_one() -> None:
    assert tomllib.loads((DEPLOY / "server.toml").read_text("utf-8"))["notice"] == Settings().notice


def test_without_its_keys_the_server_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"keys\.toml"):
        read_settings(DEPLOY / "server.toml")
    held = kubernetes()["Secret"]["stringData"]
    (tmp_path / "keys.toml").write_text(held["keys.toml"])
    (tmp_path / "server.toml").write_text('keys_file = "keys.toml"')
    with pytest.raises(DataError, match="hash"):
        read_settings(tmp_path / "server.toml")


# -- compose -------------------------------------------------------------------------------------


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def test_services_may_do_no_more_than_they_must() -> None:
    services = compose()["services"]
    assert set(services) == {"server", "db"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert "privileged" not in service
        assert not re.search(r":latest$|^[^:]+$", service["image"])
    assert services["db"]["user"] == "999:999"
    assert compose()["networks"]["back"]["internal"] is True
    assert services["db"]["networks"] == ["back"]
    assert "ports" not in services["db"]
    assert all(port.startswith("127.0.0.1:") for port in services["server"]["ports"])


def test_secrets_are_files_and_no_variable_holds_one() -> None:
    made = compose()
    for service in made["services"].values():
        for name, value in service["environment"].items():
            assert not re.search(r"PASSWORD$|SECRET$|KEY$", name)
            assert "password=" not in str(value)
        for secret in service["secrets"]:
            name = secret if isinstance(secret, str) else secret["source"]
            assert name in made["secrets"]
    for secret in made["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    targets = {s["target"] for s in made["services"]["server"]["secrets"]}
    file = made["services"]["server"]["environment"]["PGSERVICEFILE"]
    keys = tomllib.loads((DEPLOY / "server.toml").read_text("utf-8"))["keys_file"]
    assert targets == {file, keys}
    assert "/secrets/" in (DEPLOY / ".gitignore").read_text("utf-8").splitlines()


def test_what_must_last_is_on_a_volume_and_the_rest_in_memory() -> None:
    made = compose()
    for service in made["services"].values():
        named = {v.split(":")[0] for v in service["volumes"] if not v.startswith(".")}
        assert named <= set(made["volumes"])
        assert any(t.startswith("/tmp") for t in service["tmpfs"])
    places = {v.split(":")[1] for v in made["services"]["server"]["volumes"]}
    assert "/data" in places
    database = made["services"]["db"]
    assert any("/var/run/postgresql" in t for t in database["tmpfs"])
    for service in made["services"].values():
        for volume in service["volumes"]:
            if volume.startswith("."):
                assert (DEPLOY / volume.split(":")[0]).exists()


def test_the_server_waits_for_its_database_and_is_given_time_to_end() -> None:
    services = compose()["services"]
    assert services["server"]["depends_on"]["db"]["condition"] == "service_healthy"
    assert services["db"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    drain = tomllib.loads((DEPLOY / "server.toml").read_text("utf-8"))["drain_seconds"]
    assert seconds(services["server"]["stop_grace_period"]) > drain + GRACE


def test_the_image_has_the_version_of_the_code() -> None:
    from voicetone import __version__

    wanted = f"{IMAGE}:{__version__}"
    assert compose()["services"]["server"]["image"] == wanted
    assert pod()["containers"][0]["image"] == wanted
    assert f"-t {wanted} " in (DEPLOY / "Dockerfile").read_text("utf-8")


# -- Kubernetes ----------------------------------------------------------------------------------


def pod() -> dict[str, Any]:
    made: dict[str, Any] = kubernetes()["Deployment"]["spec"]["template"]["spec"]
    return made


def test_all_objects_are_there_and_select_the_pods() -> None:
    found = kubernetes()
    assert set(found) == {
        "Secret",
        "ConfigMap",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels


def test_pods_may_do_no_more_than_they_must() -> None:
    assert pod()["automountServiceAccountToken"] is False
    outer = pod()["securityContext"]
    assert outer["runAsNonRoot"] is True
    assert outer["runAsUser"] == outer["fsGroup"] == USER
    assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod()["containers"]
    inner = container["securityContext"]
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["allowPrivilegeEscalation"] is False
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]
    policy = kubernetes()["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule.get("to") or rule.get("from") for rule in policy["ingress"] + policy["egress"])


def test_probes_ask_what_they_should() -> None:
    (container,) = pod()["containers"]
    asked = {k: container[f"{k}Probe"]["httpGet"] for k in ("startup", "liveness", "readiness")}
    assert asked["startup"]["path"] == asked["liveness"]["path"] == "/healthz"
    assert asked["readiness"]["path"] == "/readyz", "a server that drains gets no more calls"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {probe["port"] for probe in asked.values()} == {"http"}
    settings = tomllib.loads(kubernetes()["ConfigMap"]["data"]["server.toml"])
    assert ports["http"] == settings["port"]
    rules = kubernetes()["NetworkPolicy"]["spec"]["ingress"]
    assert {p["port"] for rule in rules for p in rule["ports"]} == {settings["port"]}


def test_pods_are_given_time_to_end() -> None:
    (container,) = pod()["containers"]
    *_, code = container["lifecycle"]["preStop"]["exec"]["command"]
    (slept,) = re.findall(r"sleep\((\d+)\)", code)
    readiness = container["readinessProbe"]
    assert float(slept) > readiness["periodSeconds"]
    drain = tomllib.loads(kubernetes()["ConfigMap"]["data"]["server.toml"])["drain_seconds"]
    assert pod()["terminationGracePeriodSeconds"] > float(slept) + drain + GRACE


def test_what_is_mounted_is_there() -> None:
    (container,) = pod()["containers"]
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(places.values()) == set(volumes)
    assert {"/data", "/tmp"} < set(places)
    found = kubernetes()
    assert volumes["settings"]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    assert volumes["secrets"]["secret"]["secretName"] == found["Secret"]["metadata"]["name"]
    assert volumes["secrets"]["secret"]["defaultMode"] == 0o440
    held = {f"{_place(places, 'secrets')}/{name}" for name in found["Secret"]["stringData"]}
    settings = tomllib.loads(found["ConfigMap"]["data"]["server.toml"])
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert held == {settings["keys_file"], variables["PGSERVICEFILE"]}


def _place(places: dict[str, str], name: str) -> str:
    return next(path for path, one in places.items() if one == name)
