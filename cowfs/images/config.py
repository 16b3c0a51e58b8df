"""The config of an image (OCI image-spec, config.md): bytes in, values out, no I/O. Raises BrokenImage."""

from itertools import count
from typing import NamedTuple

from cowfs.errors import BrokenImage
from cowfs.images.jsondoc import Fields, check_digest, parse
from cowfs.model import ImageConfig, Step


class ParsedConfig(NamedTuple):
    """What we use of a config. ``created_by`` has a history line for each layer, empty where it is not known.

    ``steps`` are all lines of the history, those that made no layer, too.
    """

    image: ImageConfig
    diff_ids: tuple[str, ...]
    created_by: tuple[str, ...]
    steps: tuple[Step, ...]
    platform: str  # "linux/amd64"


def parse_config(data: bytes) -> ParsedConfig:
    """The config that ``data`` is."""
    fields = parse(data, "config")
    rootfs = fields.fields("rootfs")
    if rootfs.text("type") != "layers":
        raise BrokenImage("the config names no layers")
    diff_ids = rootfs.texts("diff_ids")
    for diff_id in diff_ids:
        check_digest(diff_id, "config")
    steps = _steps(fields, len(diff_ids))
    parts = (fields.text(key, "") for key in ("os", "architecture", "variant"))
    return ParsedConfig(
        image=_image(fields.fields("config")),
        diff_ids=diff_ids,
        created_by=tuple(step.created_by for step in steps if step.layer is not None),
        steps=steps,
        platform="/".join(filter(None, parts)),
    )


def _image(fields: Fields) -> ImageConfig:
    labels = fields.fields("Labels")
    return ImageConfig(
        entrypoint=fields.texts("Entrypoint"),
        cmd=fields.texts("Cmd"),
        env=tuple(entry for entry in fields.texts("Env") if "=" in entry[1:]),
        user=fields.text("User", ""),
        working_dir=fields.text("WorkingDir", ""),
        volumes=fields.fields("Volumes").names(),
        exposed_ports=fields.fields("ExposedPorts").names(),
        stop_signal=fields.text("StopSignal", ""),
        labels={key: labels.text(key) for key in labels.names()},
    )


def _steps(fields: Fields, layers: int) -> tuple[Step, ...]:
    """History has a line for each layer, and others that made none. One that does not add up is left out."""
    numbers = count(1)
    steps = [
        Step(line.text("created_by", ""), None if line.flag("empty_layer") else next(numbers))
        for line in fields.objects("history")
    ]
    if next(numbers) != layers + 1:
        return tuple(Step("", number) for number in range(1, layers + 1))
    return tuple(steps)
