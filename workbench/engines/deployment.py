"""A deployed federation: certificates, keys, and the processes of Flower, from one plan in a YAML file.

    plan = read_plan("federation.yml")
    make_certificates(plan)                     # a CA, the link's certificate, a key for each node
    with start(link_command(plan), plan.folder / "link.log"): ...

Everything is written below the folder of the plan; Flower gets a home of its own there, and sends no usage statistics. Processes are in
groups that are killed as a whole, also when the process that started them is killed itself. A client app that needs more than 30 s to
start is started again by Flower every 30 s, and the old ones linger. So their number is bounded, too.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from workbench.data.source import Source
from workbench.errors import InputError, did_you_mean, reasons
from workbench.runs.loader import read_yaml

MARK = "WORKBENCH "  # begin of a line of the server app that is a message to whoever started the run
CHILDREN = 12  # processes in a group; a node has its own, an executor and one client app
RETRIES = 20  # of a node that cannot reach its link
DAYS = 365  # that certificates are valid
CONNECTION = "workbench"
GUARD = 'read -r _; kill -s TERM -- "-$1"; sleep 5; kill -s KILL -- "-$1"'  # its input ends when this process has ended


class Node(BaseModel):
    """A node: the scene that only it reads. port: of its own runtime, on its machine. settings: of the method, for this node alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene: str = Field(min_length=1)
    truth: str | None = None
    keys: dict[str, str] = Field({})
    beside: dict[str, str] = Field({})
    port: int = Field(9801, ge=1024, le=65535)
    settings: dict[str, Any] = Field({})

    def source(self) -> Source:
        """The scene of the node."""
        return Source(self.scene, self.truth, self.keys, self.beside)


class Plan(BaseModel):
    """A federation. method: which has apps for it. host, port: of the link, as nodes reach it. folder: of certificates, keys and logs.
    classes: their names, in the same order for all nodes. bands: channels of all sensors of a node together, where all nodes need the
    same. settings: of the method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "fedfusion"
    host: str = "127.0.0.1"
    port: int = Field(8800, ge=1024, le=65535)
    folder: Path = Path("federation")
    rounds: int = Field(10, ge=1, le=100_000)
    seconds: float = Field(120.0, gt=0, le=86_400, description="how long a round waits for its nodes")
    least: int = Field(1, ge=1, description="nodes that must be connected before a round begins")
    classes: list[str] = Field(min_length=2)
    bands: int | None = Field(None, ge=1)
    settings: dict[str, Any] = Field({})
    nodes: dict[str, Node] = Field(min_length=1)

    @field_validator("folder")
    @classmethod
    def _path(cls, folder: Path) -> Path:
        if "\0" in str(folder):
            raise ValueError("the name of a folder has no null character")
        return folder

    @field_validator("nodes")
    @classmethod
    def _simple(cls, nodes: dict[str, Node]) -> dict[str, Node]:
        for name in nodes:
            if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise ValueError(f"the name of a node has letters, digits, - and _ only; this one is {name!r}")
        return nodes

    def node(self, name: str) -> Node:
        """The node of that name; InputError with a did-you-mean for another one."""
        if name not in self.nodes:
            raise InputError(
                f"The plan has no node {name!r}; it has {', '.join(self.nodes)}.{did_you_mean(name, self.nodes)}"
            )
        return self.nodes[name]

    def numbers_of(self, classes: Sequence[str], name: str) -> np.ndarray:
        """(classes,) number in the plan of each class of a node's data; InputError, with the node's name, for one that it does not name."""
        strange = [n for n in classes if n not in self.classes]
        if strange:
            raise InputError(
                f"{name} has the classes {', '.join(strange)}, which the plan does not name; it has {', '.join(self.classes)}."
            )
        return np.array([self.classes.index(n) for n in classes])


def read_plan(path: str | Path) -> Plan:
    """The plan in a YAML file; a relative `folder` is beside the file. Raises InputError for what is missing, unknown or out of range."""
    path = Path(path).expanduser().resolve()
    try:
        plan = Plan.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path.name}: {reasons(error)}") from None
    return plan.model_copy(update={"folder": (path.parent / plan.folder).resolve()})


# --- certificates and keys --------------------------------------------------------------------------------------------


def make_certificates(plan: Plan) -> list[Path]:
    """A certificate authority, the link's certificate for the plan's host, and a key pair for each node; the files, private ones for the
    owner's eyes only (mode 600).

    Raises InputError where the folder has some already: other machines hold copies of them.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = plan.folder
    if (folder / "ca.crt").exists():
        raise InputError(
            f"{folder} has certificates already. Delete the folder to make new ones; every node then needs its new files."
        )
    folder.mkdir(parents=True, exist_ok=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    made = []

    def written(name: str, content: bytes, secret: bool = False) -> None:
        path = folder / name
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o644), "wb") as file:
            file.write(content)
        made.append(path)

    def certificate(subject: str, key: Any, issuer: x509.Name, signer: Any, *extensions: Any) -> x509.Certificate:
        begin = datetime.now(UTC) - timedelta(minutes=5)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=DAYS))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    def private(key: Any, form: Any = serialization.PrivateFormat.PKCS8) -> bytes:
        return key.private_bytes(pem, form, plain)

    authority, server = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "workbench federation CA")])
    ca = certificate(
        "workbench federation CA",
        authority,
        name,
        authority,
        (x509.BasicConstraints(True, 0), True),
        (x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), False),
        (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
    )
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    try:
        address = x509.IPAddress(ipaddress.ip_address(plan.host))
        names += [address] if address not in names else []
    except ValueError:
        names += [x509.DNSName(plan.host)] if plan.host != "localhost" else []
    link = certificate(
        plan.host,
        server,
        name,
        authority,
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(False, None), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False),
        (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False),
    )
    written("ca.key", private(authority), secret=True)
    written("ca.crt", ca.public_bytes(pem))
    written("link.key", private(server), secret=True)
    written("link.crt", link.public_bytes(pem))
    for node in plan.nodes:
        key = ec.generate_private_key(ec.SECP384R1())
        written(f"{node}.key", private(key, serialization.PrivateFormat.OpenSSH), secret=True)
        written(
            f"{node}.pub", key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        )
    return made


def check_link(plan: Plan, seconds: float = 10.0) -> None:
    """Raise InputError unless a link answers at the address of the plan, with a certificate that `ca.crt` vouches for."""
    import socket
    import ssl

    where = f"{plan.host}:{plan.port}"
    _present(plan, "ca.crt")
    try:
        with socket.create_connection((plan.host, plan.port), seconds) as raw:
            ssl.create_default_context(cafile=str(plan.folder / "ca.crt")).wrap_socket(
                raw, server_hostname=plan.host
            ).close()
    except ssl.SSLCertVerificationError as error:
        raise InputError(
            f"The link at {where} shows a certificate that {plan.folder / 'ca.crt'} does not vouch for ({error.verify_message}). Copy "
            "ca.crt from the machine of the link, or make new certificates for this host."
        ) from None
    except OSError as error:
        raise InputError(
            f"No link answers at {where} ({error}). Start it with `workbench federate link`, or correct host and port in the plan."
        ) from None


def _present(plan: Plan, *names: str) -> None:
    missing = [n for n in names if not (plan.folder / n).is_file()]
    if missing:
        raise InputError(
            f"{plan.folder} has no {', '.join(missing)}. Make certificates with `workbench federate certs`, or copy them from the machine "
            "where they were made."
        )


# --- commands of Flower -----------------------------------------------------------------------------------------------


def environment(plan: Plan) -> dict[str, str]:
    """Of Flower's processes: its home in the plan's folder, no usage statistics, one thread for each computation."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **os.environ,
        "PATH": path,
        "FLWR_HOME": str(plan.folder / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "NO_COLOR": "1",
    }


def link_command(plan: Plan) -> list[str]:
    """The server that nodes connect to. Raises InputError without certificates."""
    _present(plan, "link.crt", "link.key", "ca.crt")
    folder = plan.folder
    return [
        _tool("flower-superlink"),
        *("--ssl-certfile", str(folder / "link.crt"), "--ssl-keyfile", str(folder / "link.key")),
        *("--ssl-ca-certfile", str(folder / "ca.crt"), "--host", _bind(plan.host), "--port", str(plan.port)),
        *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
    ]


def node_command(plan: Plan, name: str, config: Mapping[str, str]) -> list[str]:
    """A node. config: what its client app finds in `node_config`; it stays on this machine. Raises InputError without its key."""
    node = plan.node(name)
    _present(plan, "ca.crt", f"{name}.key")
    told = {**config, "name": name}
    return [
        _tool("flower-supernode"),
        *("--root-certificates", str(plan.folder / "ca.crt"), "--superlink", f"{plan.host}:{plan.port}"),
        *("--auth-supernode-private-key", str(plan.folder / f"{name}.key")),
        *("--port", str(node.port), "--max-retries", str(RETRIES), "--max-wait-time", "120"),
        *("--node-config", " ".join(f"{k}={json.dumps(v)}" for k, v in told.items())),
    ]


def _tool(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise InputError("A federation on Flower needs it: pip install 'workbench[federated]'.")
    return str(path)


def _bind(host: str) -> str:
    return host if host in ("127.0.0.1", "localhost") else "0.0.0.0"


def register(plan: Plan) -> list[str]:
    """Make the keys of the plan's nodes known to the link; the names of those that it did not know before."""
    _connection(plan)
    new = []
    for name in plan.nodes:
        _present(plan, f"{name}.pub")
        asked = [_tool("flwr"), "supernode", "register", str(plan.folder / f"{name}.pub"), CONNECTION, "--name", name]
        done = subprocess.run(asked, env=environment(plan), capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            new.append(name)
        elif "already" not in (done.stdout + done.stderr).lower():
            raise InputError(f"The link did not take the key of {name}: {_last(done.stdout + done.stderr)}")
    return new


def _connection(plan: Plan) -> None:
    home = plan.folder / "flower"
    home.mkdir(parents=True, exist_ok=True)
    lines = [
        "[superlink]",
        f'default = "{CONNECTION}"',
        f"[superlink.{CONNECTION}]",
        f'address = "{plan.host}:{plan.port}"',
        f"root-certificates = {json.dumps(str(plan.folder / 'ca.crt'))}",
    ]
    (home / "config.toml").write_text("\n".join(lines) + "\n")


def write_app(folder: Path, client: str, server: str, config: Mapping[str, str | int | float]) -> None:
    """The app that Flower sends to the nodes: two imports. client, server: `module:name` of this package, or of a file in the folder.

    config: names and defaults of the run's settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "[build-system]",
        'requires = ["hatchling"]',
        'build-backend = "hatchling.build"',
        "[project]",
        'name = "workbench-federation"',
        'version = "1.0.0"',
        "dependencies = []",
        "[tool.flwr.app]",
        'publisher = "workbench"',
        "[tool.flwr.app.components]",
        'serverapp = "federation_app:server"',
        'clientapp = "federation_app:client"',
        "[tool.flwr.app.config]",
        *(f"{name} = {json.dumps(value)}" for name, value in config.items()),
    ]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n")
    code = []
    for name, place in (("client", client), ("server", server)):
        module, _, attribute = place.partition(":")
        code += [
            f"from {module} import {attribute} as _{name}",
            f"{name} = _{name}",
        ]  # Flower looks for assignments in the text
    (folder / "federation_app.py").write_text("\n".join(code) + "\n")


# --- processes --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def start(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, its output in `log`. The whole group ends when the block is left, and when this process ends, even
    by SIGKILL: then a shell that waits for this process ends the group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [*command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(env), start_new_session=True
        )
    guard = ["sh", "-c", GUARD, "guard", str(process.pid)]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as shell:
        try:
            yield process
        finally:
            end(process)
            shell.kill()  # before its input ends: the number of the group may soon belong to others


def end(process: subprocess.Popen[Any]) -> None:
    """End a process and all of its descendants, those in groups of their own included."""
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()


def crowd(process: subprocess.Popen[Any]) -> int:
    """How many descendants a process has."""
    import psutil

    try:
        return len(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return 0


def watched(process: subprocess.Popen[Any], log: Path, what: str, seconds: float | None = None) -> None:
    """Wait for a process. Raises InputError, after ending it, when it has too many descendants, takes longer than `seconds`, or fails."""
    begin = time.monotonic()
    while process.poll() is None:
        if crowd(process) > CHILDREN:
            end(process)
            raise InputError(
                f"{what} had more than {CHILDREN} processes and was ended: its client app needs more than 30 s to start, so that Flower "
                f"starts it again and again. This machine is too busy; see {log}."
            )
        if seconds is not None and time.monotonic() - begin > seconds:
            end(process)
            raise InputError(f"{what} took longer than {seconds:g} s and was ended; see {log}.")
        time.sleep(0.5)
    if process.returncode:
        told = _last(log.read_text(errors="replace")) if log.is_file() else ""
        raise InputError(f"{what} ended with an error ({told}); see {log}.")


def messages(plan: Plan, app: Path, config: Mapping[str, str | int | float], seconds: float) -> Iterator[dict[str, Any]]:
    """Run the app on the link; what its server app prints after `MARK`, as it comes.

    seconds: for the whole run. Raises InputError where the run cannot start, fails, or takes longer; Flower's own exit code is 0 then, too.
    """
    _connection(plan)
    log = plan.folder / "run.log"
    told = " ".join(f"{name}={json.dumps(value)}" for name, value in config.items())
    command = [_tool("flwr"), "run", str(app), CONNECTION, "--stream", *(["-c", told] if told else [])]
    finished, read, begin = False, 0, time.monotonic()
    log.unlink(missing_ok=True)
    with start(command, log, environment(plan)) as process:
        while True:
            over = process.poll() is not None
            text = log.read_text(errors="replace") if log.is_file() else ""
            lines = text.split("\n")
            for line in lines[read:-1]:
                if MARK in line:
                    message = json.loads(line[line.index(MARK) + len(MARK) :])
                    if "error" in message:
                        raise InputError(str(message["error"]))
                    finished |= bool(message.get("finished"))
                    yield message
            read = max(read, len(lines) - 1)
            if over or finished:
                break
            if time.monotonic() - begin > seconds:
                raise InputError(
                    f"The run took longer than {seconds:g} s and was ended; see {log} and the logs of link and nodes."
                )
            time.sleep(0.3)
    if not finished:
        raise InputError(f"The run ended before its last round ({_last(log.read_text(errors='replace'))}); see {log}.")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
