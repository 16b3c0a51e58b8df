"""``cowdiff report RUN -o FILE``: a run as one page for a browser."""

from pathlib import Path

import click

from cowdiff.context import Context


@click.command("report")
@click.argument("token", metavar="RUN")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The page; replaced if it exists.")
@click.pass_obj
def command(context: Context, token: str, output: Path) -> None:
    """Write a page that shows what RUN changed: where the bytes are, which process did what when, and each diff.

    One file that needs no network: to be sent, kept, or opened anywhere.
    """
    from cowdiff.report import page
    from cowfs.cli.page import save

    save(page(context.find(token)), output)
