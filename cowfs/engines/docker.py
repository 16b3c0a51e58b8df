"""``docker:NAME`` as a container (moby: container/container.go, layer/filestore.go).

containers/<id>/config.v2.json                   its name, image, command, state and mounts
image/<driver>/layerdb/mounts/<id>/mount-id      which directory of the driver is its topmost layer
<driver>/<mount-id>                              ``cowfs.engines.layers``; driver: overlay2 or fuse-overlayfs
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cowfs.engines import layers
from cowfs.engines.layers import text, texts
from cowfs.errors import BrokenImage, NotFound, StoreError
from cowfs.images import docker, foreign
from cowfs.model import Container, Mounted, RunState

_ID: Final = re.compile(r"[0-9a-f]{64}")
_MOUNT_ID: Final = re.compile(r"[0-9a-z]{25,64}")
_INJECTED: Final = {"/etc/hosts": "HostsPath", "/etc/hostname": "HostnamePath", "/etc/resolv.conf": "ResolvConfPath"}
_KERNELS: Final = {"/proc": "proc", "/sys": "sysfs", "/dev": "tmpfs"}


def find(rest: str) -> Container:
    """The container that ``docker:REST`` names. Raises CowfsError."""
    given, name = foreign.split(rest)
    root = given or docker.configured()
    foreign.check_root(root, "docker")
    configs = _configs(root)
    named = [(text(one.get("ID")), (_name(one),), number) for number, one in enumerate(configs)]
    return _container(root, configs[layers.choose("docker", name, named, str(root))], default=given is None)


def containers() -> Iterator[Container]:
    """All of them. Raises CowfsError."""
    root = docker.configured()
    for config in _configs(root):
        try:
            yield _container(root, config, default=True)
        except (BrokenImage, StoreError, NotFound):  # the others can be shown
            continue


def _configs(root: Path) -> list[dict[str, Any]]:
    try:
        names = sorted(name for name in os.listdir(root / "containers") if _ID.fullmatch(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{root / 'containers'} cannot be read: {error.strerror}") from None
    found = (layers.read_json(root / "containers" / name / "config.v2.json") for name in names)
    return [config for config, name in zip(found, names, strict=True) if config.get("ID") == name]


def _container(root: Path, config: dict[str, Any], *, default: bool) -> Container:
    full, driver, name = text(config.get("ID")), text(config.get("Driver")), _name(config)
    if driver not in docker.DRIVERS:
        raise StoreError(
            f"docker keeps container {name} in another form ({driver[:40]!r}) than a directory for each layer"
        )
    directory = root / driver / docker.word(root / f"image/{driver}/layerdb/mounts/{full}/mount-id", _MOUNT_ID)
    state = config.get("State")
    state = state if isinstance(state, dict) else {}
    given = config.get("Config")
    mounts = _mounts(config)
    status, going = state.get("ExitCode"), state.get("Running") is True
    ended = layers.seconds(state.get("FinishedAt"))
    return Container(
        id=full[:12],
        directory=directory,
        source=text(given.get("Image")) if isinstance(given, dict) else "",
        lowers=layers.lowers([root / driver], directory),
        command=(text(config.get("Path")), *texts(config.get("Args"))),
        name=name,
        volumes=tuple(mount.target for mount in mounts),
        mounts=mounts,
        started=layers.seconds(state.get("StartedAt")) or layers.seconds(config.get("Created")),
        ended=ended if ended and not going else None,
        exit_status=status if isinstance(status, int) and ended and not going else None,
        state=RunState.RUNNING if going else RunState.STOPPED,
        engine="docker",
        typed=f"docker:{name}" if default else f"docker:[{root}]{name}",
    )


def _name(config: dict[str, Any]) -> str:
    return text(config.get("Name")).removeprefix("/") or text(config.get("ID"))[:12]


def _mounts(config: dict[str, Any]) -> tuple[Mounted, ...]:
    found = [Mounted(target, kind) for target, kind in _KERNELS.items()]
    found += [
        Mounted(target, "injected", text(config.get(key))) for target, key in _INJECTED.items() if config.get(key)
    ]
    points = config.get("MountPoints")
    for target, point in points.items() if isinstance(points, dict) else ():
        if isinstance(point, dict) and target.startswith("/"):
            found.append(Mounted(os.path.normpath(target), "volume", text(point.get("Source")), not point.get("RW")))
    return tuple(found)
