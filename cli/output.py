"""How records are shown: a table on a terminal, tab-separated when piped, JSON or YAML on demand.

Data goes to standard output, notes to standard error. Text from elsewhere never reaches a
terminal with its control characters.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import click

Record: TypeAlias = Mapping[str, Any]
Columns: TypeAlias = Sequence[str]
FORMATS: Final = ("table", "json", "yaml")

_ESCAPES: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def show_list(output: str, envelope: Record, plural: str, columns: Columns) -> None:
    """Show a list: the whole envelope in JSON and YAML, else `columns` of its records."""
    if output != "table":
        show_document(output, envelope)
        return
    rows = [[cell(record.get(column)) for column in columns] for record in envelope[plural]]
    if sys.stdout.isatty():
        _show_table([column.upper().replace("_", " ") for column in columns], rows)
    else:
        _show_tabs(rows)


def show_record(output: str, record: Record) -> None:
    """Show one record: its fields below each other, but in JSON and YAML."""
    if output != "table":
        show_document(output, record)
        return
    rows = [[name, cell(value)] for name, value in record.items()]
    if sys.stdout.isatty():
        _show_table([], rows)
    else:
        _show_tabs(rows)


def show_changes(output: str, diff: Record) -> None:
    """Show what changed, as a patch is shown: what was in red, what is in green on a terminal."""
    if output != "table":
        show_document(output, diff)
        return
    for sign, side, colour in (("---", "from", "red"), ("+++", "to", "green")):
        place = diff[side]
        click.secho(f"{sign} version {place['version']}\t{place['recorded_at']}", fg=colour)
    for change in diff["changes"]:
        for sign, side, colour in (("-", "from", "red"), ("+", "to", "green")):
            text = json.dumps(change[side], ensure_ascii=False)
            click.secho(f"{sign} {visible(change['path'])}: {visible(text)}", fg=colour)


def show_document(output: str, document: Any) -> None:
    """Show it as JSON or YAML."""
    if output == "yaml":
        import yaml

        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    else:
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    click.echo(text, nl=False)


def note(text: str) -> None:
    """Say something that is no data."""
    click.echo(text, err=True)


def cell(value: object) -> str:
    """Return a value as one line without control characters; nothing for None."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return visible(value)
        case list() if all(isinstance(item, str) for item in value):
            return visible(", ".join(value))
        case dict() | list():
            return visible(json.dumps(value, ensure_ascii=False)) if value else ""
        case _:
            return str(value)


def visible(text: str) -> str:
    """Return the text with each control character as its escape."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else _ESCAPES.get(letter, f"\\u{ord(letter):04x}")
        for letter in text
    )


def _show_tabs(rows: Sequence[Sequence[str]]) -> None:
    click.echo("".join("\t".join(row) + "\n" for row in rows), nl=False)


def _show_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(headings), pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        # An id that is cut can't be copied.
        whole = max(len(row[number]) for row in rows) if rows and heading.endswith("ID") else None
        table.add_column(heading, no_wrap=True, min_width=whole)
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    Console(highlight=False).print(table)
