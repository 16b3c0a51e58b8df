"""``cowdiff why RUN PATH``: where a path lives, what becomes of it at the end of the run, and what would keep it."""

import json
from typing import Any

import click

from cowdiff.context import Context
from cowdiff.journals import path_inside


@click.command("why")
@click.argument("token", metavar="RUN")
@click.argument("path", type=click.Path(path_type=bytes))
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.pass_obj
def command(context: Context, token: str, path: bytes, as_json: bool) -> None:
    """Say where PATH lives in RUN, whether a change of it lasts, and how to keep it.

    Symbolic links in PATH are not followed, but the answer names the first one.
    """
    from cowdiff.lasting import explain
    from cowfs.runs.escape import json_name

    answer = explain(context.find(token), path_inside(path))
    if as_json:
        record: dict[str, Any] = json_name("path", b"/" + path_inside(path)) | {
            "lives_in": answer.place.value,
            "lasts": answer.lasts,
        }
        record |= {"where": answer.where, "at_exit": answer.at_exit, "keep": list(answer.keep)}
        click.echo(json.dumps(record))
        return
    click.echo(f"lives in  {answer.where}")
    click.echo(f"at exit   {answer.at_exit}")
    for position, line in enumerate(answer.keep):
        click.echo(f"{'' if position else 'to keep':<8}  {line}")
