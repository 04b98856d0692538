"""The steps that this project adds to the build of the site: other and generated pages, links."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

#: Pages of the site that are elsewhere in the repository.
ELSEWHERE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "promises.md": "SECURITY.md",
    "spec.md": "protocol/SPEC.md",
    **{
        f"examples/{path.parent.name}.md": str(path.relative_to(ROOT))
        for path in ROOT.glob("examples/*/README.md")
    },
}

#: The modules whose public names have a page of the reference each, and its title.
MODULES = {
    "microvm": "Python",
    "microvm.sync": "Python without async",
    "microvm.errors": "Errors",
    "microvm.testing": "Fixtures of pytest",
    "microvm.images": "Images",
    "microvm_image": "Builder of images",
}

# Code, in which there are no links, and links.
LINK = re.compile(
    r"^```.*?^```|`[^`\n]+`|(!?)\[((?:`[^`]*`|[^\[\]`])*)\]\(([^()#\s]*)(#[^()\s]*)?\)",
    re.MULTILINE | re.DOTALL,
)

# The text that click prints without filling its lines: up to an empty line.
AS_IT_STANDS = re.compile(r"[\b]\n((?:.*\S.*\n)*)")

# The marks of reStructuredText in docstrings: before a block of code, and roles.
MARKS = re.compile(r"<p>::</p>\n?|:(?:class|func|meth|mod):(?=<code>)")

# The first sentence of a page's prose, in which there may be links.
SENTENCE = re.compile(r"^(?=[\w`\[])(?:[^\n]|\n(?!\n))+?[.:?](?=\s)", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are elsewhere, and those that are generated."""
    for uri, path in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    pages = {f"python/{name}": of_module(name) for name in MODULES}
    pages |= {f"commands/{name}": of_command([name], command) for name, command in commands()}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(text)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Have a link lead to a page of the site; a file that is none is named."""
    source = page.file.abs_src_path
    uris = {file.abs_src_path: file.src_uri for file in files}

    def lead(found: re.Match[str]) -> str:
        image, text, path, anchor = found.groups(default="")
        if source is None or not path or ":" in path:
            return found[0]
        target = Path(os.path.normpath(Path(source).parent / path))
        uri = uris.get(str(target / "README.md" if target.is_dir() else target))
        if uri is None:
            name = f"`{target.relative_to(ROOT)}`"
            return text if text.startswith("`") else name if text in name else f"{text} ({name})"
        return f"{image}[{text}]({os.path.relpath(uri, Path(page.file.src_uri).parent)}{anchor})"

    return LINK.sub(lead, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Leave out what docstrings have of another markup."""
    return MARKS.sub("", html)


def on_page_context(context: Any, page: Page, config: MkDocsConfig, nav: Navigation) -> None:
    """Write, with the first page, llms.txt, a list of all, and llms-full.txt, their text."""
    if page.is_homepage:
        folder = Path(config.site_dir)
        text = f"# {config.site_name}\n\n> {config.site_description}\n\n"
        (folder / "llms.txt").write_text(text + "\n".join(listed(nav)) + "\n")
        (folder / "llms-full.txt").write_text("\n".join(str(each.markdown) for each in nav.pages))


def listed(nav: Navigation) -> Iterator[str]:
    """The lines that list the pages, by the parts of the site, each with its first sentence."""
    part = ""
    for page in nav.pages:
        if part != (part := str([page, *page.ancestors][-1].title)):
            yield f"\n## {part}\n"
        found = SENTENCE.search(re.sub(r"^```.*?^```", "", str(page.markdown), flags=re.M | re.S))
        words = re.sub(r"\[(.*?)\]\(\S*\)", r"\1", found[0]).rstrip(":.").split() if found else []
        yield f"- [{page.title}]({page.url}): {' '.join(words) or page.title}"


def of_module(name: str) -> Iterator[str]:
    """Yield the documentation of a module in Markdown; errors have a page of their own."""
    module = import_module(name)
    yield f"# {MODULES[name]}\n"
    if names := getattr(module, "__all__", None):
        yield "What is `Unpack[…]` here are keyword arguments: [options](../../options.md).\n"
    yield f"::: {name}"
    if names:
        of = {each: getattr(getattr(module, each), "__module__", "") for each in names}
        yield "    options:\n      members:"
        yield from (f"        - {each}" for each in names if of[each] not in ("", "microvm.errors"))


def commands() -> Iterator[tuple[str, click.Command]]:
    """The two commands, with the defaults that are built in."""
    for name in [name for name in os.environ if name.startswith("MICROVM_")]:
        del os.environ[name]
    os.environ["MICROVM_NO_CONFIG"] = "1"
    from microvm.cli.root import cli
    from microvm_proto.cli import main

    yield "microvm", cli
    yield "microvm-proto", main


def of_command(
    path: list[str], command: click.Command, above: click.Context | None = None
) -> Iterator[str]:
    """Yield the documentation of a command and its subcommands in Markdown."""
    context = click.Context(command, above, path[-1], max_content_width=80, terminal_width=80)
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    command.format_options(context, formatter)
    text = AS_IT_STANDS.sub(r"```text\n\1```\n", cleandoc(command.help or "") + "\n")
    yield f"{'#' * len(path)} {' '.join(path)}\n\n{text}\n```text\n{formatter.getvalue()}```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (each := command.get_command(context, name)) is not None:
                yield from of_command([*path, name], each, context)
