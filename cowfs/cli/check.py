"""``cowfs check``: is what the store holds still what came?"""

import os

import click

from cowfs.cli.context import Context
from cowfs.cli.entry import complain
from cowfs.cli.output import json_line, short_digest
from cowfs.errors import CowfsError
from cowfs.images.check import Report, check_image, check_layers, repair
from cowfs.store import Store
from cowfs.store.records import StoredImage


@click.command()
@click.argument("images", nargs=-1, metavar="[IMAGE...]")
@click.option("--repair", "mend", is_flag=True, help="Bring damaged layers again, from where their image came.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, images: tuple[str, ...], mend: bool, as_json: bool) -> int:
    """Read everything that the store holds, or that IMAGEs are made of, and compare it with its digests.

    A single byte, name, mode, owner, time, link or attribute that changed is found. The exit status is 1 if something
    is damaged (and, with --repair, stays so). A layer that a run or mount uses cannot be repaired.
    """
    from cowfs.images.sources import stored_reference

    with context.store() as store:
        references = {stored_reference(image, store) for image in images}
        chosen = [image for image in store.images() if not images or image.reference in references]
        reports = _checked(store, chosen, as_json, everything=not images)
        damaged = {report.name for report in reports if report.problems}
        if damaged and mend:
            left = _repaired(store, chosen, damaged)
            reports = _checked(store, [image for image in chosen if _touches(image, damaged)], as_json)
            damaged = {report.name for report in reports if report.problems} | left
    if not as_json:
        what = f"{len(damaged)} of them damaged" if damaged else "all as they came"
        click.echo(f"{len(reports)} layers and images checked: {what}")
    return 1 if damaged else 0


def _touches(image: StoredImage, names: set[str]) -> bool:
    return not names.isdisjoint((image.reference, *image.diff_ids))


def _checked(store: Store, images: list[StoredImage], as_json: bool, *, everything: bool = False) -> list[Report]:
    diff_ids = list(dict.fromkeys(diff_id for image in images for diff_id in image.diff_ids))
    if everything:  # also what no image uses
        diff_ids += [diff_id for diff_id in store.layers() if diff_id not in diff_ids]
    reports: list[Report] = []

    def seen(report: Report) -> None:
        reports.append(report)
        if as_json or report.problems:
            _say(report, images, as_json)

    for image in images:
        seen(check_image(store, image))
    check_layers(store, diff_ids, seen)
    return reports


def _say(report: Report, images: list[StoredImage], as_json: bool) -> None:
    is_layer = report.name.startswith("sha256:")
    users = [image.familiar for image in images if report.name in image.diff_ids]
    if as_json:
        kind = {"layer": report.name, "images": users} if is_layer else {"image": report.name}
        click.echo(json_line({**kind, "ok": not report.problems, "problems": list(report.problems)}))
        return
    name = f"layer {short_digest(report.name)}" if is_layer else report.name
    of = f" ({', '.join(users)})" if users else ""
    for problem in report.problems:
        complain("cowfs", f"{name}: {problem}{of}")


def _repaired(store: Store, images: list[StoredImage], damaged: set[str]) -> set[str]:
    """Try each image until nothing is left; the names that no image could bring."""
    left = set(damaged)
    for image in images:
        if not _touches(image, left):
            continue
        try:
            repair(store, image, left, os.environ, lambda line: complain("cowfs", line))
        except CowfsError as error:
            complain("cowfs", f"{image.familiar} cannot be brought again: {error}")
        else:
            left -= {image.reference, *image.diff_ids}
    return left
