"""What a task asks of a container, as the Docker engine is to be told it; and what it may not ask for here.

Pure but for the look at where the links of a mount lead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from then.core.claims import SIZES
from then.core.errors import ConfigError, nearest
from then.core.tasks import Body, Task
from then.core.values import text_of
from then.executors.docker.refused import Refused

ACTIONS: Final = ("run", "start", "wait", "stop", "remove", "exec")
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "action": ACTIONS,
    "pull": ("missing", "always", "never"),
    "keep": ("never", "failed", "always"),
}
"""Options whose values are words of a list; the first is what holds where nothing is said."""
NAMES: Final = frozenset(
    "action args capabilities cpus devices entrypoint env host hostname init ipc keep labels memory mounts name network"
    " new_privileges pid pids platform ports privileged pull read_only shm stdin tmpfs user workdir".split()
)
"""All options."""
SIZED: Final = ("memory", "shm")
"""Options in bytes, which may be written as text with a unit."""
_NUMBER: Final = re.compile(r"\d{1,18}(\.\d{1,18})?", re.ASCII)
SWITCHES: Final = ("init", "new_privileges", "privileged", "read_only")
ALLOWANCES: Final = (
    "capability=NAME", "device=/dev/NAME", "ipc=host", "mount=/FOLDER", "network=host", "new-privileges", "pid=host",
    "privileged", "volume=NAME",
)  # fmt: skip
"""What the setting `THEN_DOCKER_ALLOW` may hold."""
SETTING: Final = "THEN_DOCKER_ALLOW"
LABEL: Final = "then"
STATE_LABEL: Final = "then.state"
KEEP_LABEL: Final = "then.keep"
UNBOUND: Final = {"max-size": "1000t", "max-file": "1", "compress": "false"}
"""Of the log driver, which else throws away what a container wrote first."""


def check_allowances(given: Iterable[str]) -> frozenset[str]:
    """What is allowed beside the usual.

    Raises:
        ConfigError: a word is none.
    """
    words = frozenset(given)
    forms = [form.partition("=") for form in ALLOWANCES]
    for word in sorted(words):
        if any(part.partition("=")[0] in {form[0] for form in forms} for part in word.split(",")[1:]):
            raise ConfigError(f'{SETTING}: "{word}" names several; they are told apart by spaces')
        name, _, value = word.partition("=")
        fits = [form for form in forms if form[0] == name and bool(form[1]) == bool(value)]
        if not fits or (fits[0][2] == "host" and not (value == "host" or (name == "network" and value))):
            raise ConfigError(f'{SETTING}: "{word}"{nearest(word, ALLOWANCES)}; there are {", ".join(ALLOWANCES)}')
        if name in ("mount", "device") and not value.startswith("/"):
            raise ConfigError(f'{SETTING}: "{word}" has to name a whole path: {name}=/…')
    return words


@attrs.frozen
class Wanted:
    """What one task asks for."""

    action: str
    image: str
    name: str | None
    keep: str
    pull: str
    platform: str | None
    args: tuple[str, ...]
    memory_bytes: int
    stdin: str | None
    config: Body
    """The body of the request that makes the container, without what tells whose it is, and without its box."""

    def labelled(self, task: Task, state: str, variables: Mapping[str, str], mount: Body | None) -> Body:
        """The whole body; `mount` is that of its box."""
        config, own = (
            dict(self.config),
            {LABEL: task.id, STATE_LABEL: state, "then.flow": task.flow, "then.type": task.type},
        )
        if self.keep != "never":
            own[KEEP_LABEL] = self.keep
        config["Labels"] = {**config["Labels"], **own}
        # What the task itself is given goes before what its rules say.
        config["Env"] = [*config["Env"], *(f"{name}={value}" for name, value in variables.items())]
        if mount is not None:
            config["HostConfig"] = {**config["HostConfig"], "Mounts": [*config["HostConfig"]["Mounts"], mount]}
        return config


def wanted(task: Task, options: Mapping[str, object], root: str, tasks: str, allowed: frozenset[str]) -> Wanted:
    """Reads the options of a job.

    Args:
        root: what the relative path of a mount starts from.
        tasks: the folder of all tasks of this state, which may be mounted.
        allowed: of `ALLOWANCES`.

    Raises:
        Refused: something is written wrongly, or may not be asked for here.
    """
    return _Reader(task, options, root, tasks, allowed).read()


class _Reader:
    def __init__(
        self, task: Task, options: Mapping[str, object], root: str, tasks: str, allowed: frozenset[str]
    ) -> None:
        self._options = {name: value for name, value in options.items() if value is not None}
        self._root, self._tasks, self._allowed = root, tasks, allowed
        if task.type == "Docker":
            odd = next((name for name in task.body if name not in NAMES and name != "image"), None)
            if odd is not None:
                raise Refused("spawn", f'docker: unknown "{odd}" in the body{nearest(odd, (*NAMES, "image"))}')

    def read(self) -> Wanted:
        action, target, name = self._word("action"), self._text("target"), self._text("name")
        if action in ("run", "start") and not (target or (action == "start" and name)):
            raise Refused("spawn", 'docker: no image is named; give image, such as "busybox:1"')
        if action not in ("run", "start"):
            name = name or target
            if not name:
                raise Refused("spawn", f"docker: {action} needs the name of a container")
        args = self._texts("args")
        if action == "exec" and not args:
            raise Refused("spawn", "docker: exec needs args: the program and its arguments")
        memory_bytes = round(self._number("memory") or 0)
        keep = "always" if action == "start" else self._word("keep")
        stdin = self._text("stdin")
        return Wanted(
            action, target or "", name, keep, self._word("pull"), self._text("platform"), tuple(args), memory_bytes, stdin,
            self._config(target or "", args, memory_bytes, stdin),
        )  # fmt: skip

    def _config(self, image: str, args: list[str], memory_bytes: int, stdin: str | None) -> Body:
        entrypoint = self._texts("entrypoint")
        config: Body = {
            "Image": image,
            "Cmd": args or None,
            "Env": [f"{name}={value}" for name, value in self._map("env").items()],
            "Labels": self._map("labels"),
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": self._host_config(memory_bytes),
        }
        if entrypoint:
            config["Entrypoint"] = entrypoint
        for option, key in (("user", "User"), ("workdir", "WorkingDir"), ("hostname", "Hostname")):
            value = self._text(option)
            if value is not None:
                config[key] = value
        if stdin is not None:
            config |= {"AttachStdin": True, "OpenStdin": True, "StdinOnce": True}
        ports = self._ports()
        if ports:
            config["ExposedPorts"] = {port: {} for port in ports}
            config["HostConfig"]["PortBindings"] = ports
        return config

    def _host_config(self, memory_bytes: int) -> Body:
        network = self._text("network")
        if network is not None and (network == "host" or network.startswith("container:")):
            self._check(f"network={network}", f"network {network}")
        for option in ("pid", "ipc"):
            value = self._text(option)
            if value not in (None, "private", "none"):
                self._check(f"{option}={value}", f"{option} {value}")
        if self._switch("privileged"):
            self._check("privileged", "privileged")
        config: Body = {
            "NetworkMode": network or "default",
            "Mounts": [self._mount(text) for text in self._texts("mounts")],
            "LogConfig": {"Type": "local", "Config": UNBOUND},
            "SecurityOpt": [] if self._may_gain() else ["no-new-privileges"],
            "Privileged": self._switch("privileged"),
            "ReadonlyRootfs": self._switch("read_only"),
            "PidMode": self._text("pid") or "",
            "IpcMode": self._text("ipc") or "",
            "Tmpfs": {path.partition(":")[0]: path.partition(":")[2] for path in self._texts("tmpfs")},
        }
        if memory_bytes:
            # No more by swapping either.
            config |= {"Memory": memory_bytes, "MemorySwap": memory_bytes}
        cpus, pids, shm = self._number("cpus"), self._number("pids"), self._number("shm")
        if cpus is not None:
            config["NanoCpus"] = round(cpus * 1e9)
        if pids is not None:
            config["PidsLimit"] = round(pids)
        if shm is not None:
            config["ShmSize"] = round(shm)
        if self._switch("init"):
            config["Init"] = True
        self._capabilities(config)
        return config

    def _capabilities(self, config: Body) -> None:
        """`["NET_ADMIN", "-CHOWN"]`: those with a minus are taken away, which is always allowed."""
        for name in self._texts("capabilities"):
            if name.startswith("-"):
                config.setdefault("CapDrop", []).append(name[1:])
            else:
                self._check(f"capability={name}", f"capability {name}")
                config.setdefault("CapAdd", []).append(name)
        devices = []
        for path in self._texts("devices"):
            self._check(f"device={path}", f"device {path}")
            devices.append({"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"})
        if devices:
            config["Devices"] = devices

    def _may_gain(self) -> bool:
        gains = self._switch("new_privileges")
        if gains:
            self._check("new-privileges", "new_privileges")
        return gains or self._switch("privileged")

    def _mount(self, text: str) -> Body:
        source, _, rest = text.partition(":")
        target, _, mode = rest.partition(":")
        if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
            raise Refused("spawn", f'docker: mount "{text}"; it is written "SOURCE:/TARGET" or "SOURCE:/TARGET:ro"')
        is_volume = "/" not in source and not source.startswith(".")
        if is_volume:
            self._check(f"volume={source}", f"volume {source}")
            return {"Type": "volume", "Source": source, "Target": target, "ReadOnly": mode == "ro"}
        path = os.path.realpath(os.path.join(self._root, source))
        folders = [os.path.realpath(word[6:]) for word in self._allowed if word.startswith("mount=")]
        if not any(Path(path).is_relative_to(folder) for folder in (os.path.realpath(self._tasks), *folders)):
            self._check(f"mount={path}", f"mount {path}")
        return {"Type": "bind", "Source": path, "Target": target, "ReadOnly": mode == "ro"}

    def _ports(self) -> Body:
        """`"8080:80"`, `"127.0.0.1:8080:80/udp"`; on the loopback where no address is named."""
        ports: Body = {}
        for text in self._texts("ports"):
            words = text.split(":")
            inside, _, kind = words[-1].partition("/")
            if not inside.isdecimal() or not 1 <= len(words) <= 3:
                raise Refused("spawn", f'docker: port "{text}"; it is written "8080:80" or "0.0.0.0:8080:80"')
            outside = words[-2] if len(words) > 1 else ""
            address = words[0] if len(words) > 2 else "127.0.0.1"
            ports.setdefault(f"{inside}/{kind or 'tcp'}", []).append({"HostIp": address, "HostPort": outside})
        return ports

    def _check(self, allowance: str, what: str) -> None:
        if allowance not in self._allowed:
            raise Refused(
                "spawn", f'docker: {what} is not allowed here; who runs the engine allows it by {SETTING}="{allowance}"'
            )

    # -- values of options

    def _word(self, option: str) -> str:
        words = WORDS[option]
        value = self._options.get(option, words[0])
        if value not in words:
            raise Refused("spawn", f'docker: {option} "{value}"{nearest(str(value), words)}; one of {", ".join(words)}')
        return str(value)

    def _switch(self, option: str) -> bool:
        value = self._options.get(option, False)
        if value in ("yes", "no") or isinstance(value, bool):
            return value in (True, "yes")
        raise Refused("spawn", f"docker: {option} is yes or no; here is {text_of(value)}")

    def _text(self, option: str) -> str | None:
        value = self._options.get(option)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Refused("spawn", f"docker: {option} holds {_kind(value)}; text is expected")
        return _whole(text_of(value), option)

    def _number(self, option: str) -> float | None:
        value = given = self._options.get(option)
        if value is None:
            return None
        if isinstance(value, str):
            # What is no rule in `.then` knows no sizes, and a template is text.
            value = _number_in(value, has_unit=option in SIZED)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            such = ', such as "512MiB"' if option in SIZED else ""
            raise Refused("spawn", f"docker: {option} is {text_of(given)}; a number above 0 is expected{such}")
        return value

    def _texts(self, option: str) -> list[str]:
        """Texts as they are, numbers as text, a list inside as several; null is left out."""
        value = self._options.get(option)
        if value is None:
            return []
        if isinstance(value, str) and option != "args":
            return [_whole(value, option)]
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise Refused(
                "spawn", f'docker: {option} is {_kind(value)}; a list of texts is expected, such as ["-v", "x"]'
            )
        return list(_flat(value, option))

    def _map(self, option: str) -> dict[str, str]:
        value = self._options.get(option)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise Refused("spawn", f"docker: {option} is {_kind(value)}; names with their values are expected")
        for name in value:
            if not name or "=" in name:
                raise Refused("spawn", f'docker: {option} "{name}" is no name: it is empty or holds "="')
        return {name: ",".join(_flat([one], f"{option} {name}")) for name, one in value.items()}


def _flat(items: Iterable[object], what: str) -> Iterable[str]:
    for item in items:
        if isinstance(item, Mapping):
            raise Refused("spawn", f"docker: {what} holds a map; texts and numbers are expected")
        if isinstance(item, list | tuple):
            yield from _flat(item, what)
        elif item is not None:
            yield _whole(text_of(item), what)


def _number_in(text: str, *, has_unit: bool) -> float | None:
    unit, factor = next((one for one in SIZES if has_unit and text.endswith(one[0])), ("", 1))
    number = text.removesuffix(unit)
    return float(number) * factor if _NUMBER.fullmatch(number) else None


def _whole(text: str, what: str) -> str:
    if "\0" in text:
        raise Refused("spawn", f"docker: {what} holds a NUL character, which no program can be given")
    return text


def _kind(value: object) -> str:
    return {dict: "a map", list: "a list", bool: "true or false", str: "text", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )
