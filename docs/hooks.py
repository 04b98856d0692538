"""The steps that this project adds to the build of the site: pages, links, copy buttons."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

#: Pages of the site that are elsewhere in the repository.
ELSEWHERE = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "promises.md": "SECURITY.md",
    "spec.md": "protocol/SPEC.md",
    "spec-files.md": "protocol/FILES.md",
    "spec-streams.md": "protocol/STREAMS.md",
    "spec-interpreter.md": "protocol/INTERPRETER.md",
    **{
        f"examples/{path.parent.name}.md": str(path.relative_to(ROOT))
        for path in ROOT.glob("examples/*/README.md")
    },
}

#: The modules whose public names have a page of the reference each, and its title.
MODULES = {
    "microvm": "microvm: the library",
    "microvm.sync": "microvm.sync: the library without async",
    "microvm.errors": "microvm.errors: exceptions",
    "microvm.testing": "microvm.testing: fixtures of pytest",
    "microvm.images": "microvm.images: images",
    "microvm_image": "microvm_image: the builder of images",
}

#: The names that stand first in the reference of Python, in the order in which users need them.
FIRST = (
    *("MicroVM", "CompletedProcess", "Pool", "Job", "Outcome", "Process", "Snapshot", "Forks"),
    *("Image", "AttachedVM", "Machine", "InputStream", "OutputStream", "FileStatus", "Received"),
    *("run", "exec", "map", "machine", "write_file", "read_file", "put", "get"),
)

# Code, in which there are no links, and links.
LINK = re.compile(
    r"^```.*?^```|`[^`\n]+`|(!?)\[((?:`[^`]*`|[^\[\]`])*)\]\(([^()#\s]*)(#[^()\s]*)?\)",
    re.MULTILINE | re.DOTALL,
)

# The text that click prints without filling its lines: up to an empty line.
AS_IT_STANDS = re.compile(r"[\b]\n((?:.*\S.*\n)*)")

# A row of a table, and the code in it. In Markdown for GitHub, `|` in a row is written as `\\|`.
ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
CODE = re.compile(r"`[^`\n]+`")

# A block that is indented and begins with a prompt: commands, and the output that they print.
SESSION = re.compile(r"(?<=\n\n)(?: {4}\$ .*\n)(?:(?: {4}.*)?\n)*")

# A block of code in HTML, and the link text that is the name of a page's file.
BLOCK = re.compile(r"(<div class=\"[^\"]*highlight\">)(<pre.*?</pre></div>)", re.DOTALL)
FILE_NAME = re.compile(r"(?:[\w-]+/)*[\w-]+\.md")

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


def on_config(config: MkDocsConfig) -> None:
    """Show the version beside the name of the site."""
    config.site_name = f"microvm {import_module('microvm').__version__}"


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Convert links, tables and terminal sessions from GitHub's Markdown to the site's Markdown.

    A link to a file that has no page becomes the name of the file. A link text that is the name of
    a page's file becomes the title of the page.
    """
    source = page.file.abs_src_path
    uris = {file.abs_src_path: file.src_uri for file in files}

    def link(found: re.Match[str]) -> str:
        image, text, path, anchor = found.groups(default="")
        if source is None or not path or ":" in path:
            return found[0]
        target = Path(os.path.normpath(Path(source).parent / path))
        target = target / "README.md" if target.is_dir() else target
        uri = uris.get(str(target))
        if uri is None:
            target = target.parent if target.name == "README.md" else target
            name = f"`{target.relative_to(ROOT)}`"
            return text if text.startswith("`") else name if text in name else f"{text} ({name})"
        if FILE_NAME.fullmatch(text):
            text = title(target)
        return f"{image}[{text}]({os.path.relpath(uri, Path(page.file.src_uri).parent)}{anchor})"

    markdown = LINK.sub(link, markdown)
    markdown = ROW.sub(
        lambda row: CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0]), markdown
    )
    return SESSION.sub(lambda block: f"```console\n{dedent(block[0]).strip()}\n```\n\n", markdown)


def title(path: Path) -> str:
    """Return the title of a page: its first heading."""
    found = re.search(r"^# (.*)$", path.read_text(), re.MULTILINE)
    return found[1] if found else path.stem


def on_page_content(html_text: str, **_: Any) -> str:
    """Remove the marks of reStructuredText, and let the copy buttons copy commands alone."""
    return BLOCK.sub(_with_commands, MARKS.sub("", html_text))


def _with_commands(block: re.Match[str]) -> str:
    """Add the commands of a terminal session as the text that the button of its block copies."""
    lines = html.unescape(re.sub(r"<[^>]*>", "", block[2])).splitlines()
    commands, is_continued = [], False
    for line in lines:
        if is_continued or line.startswith("$ "):
            commands.append(line if is_continued else line[2:])
            is_continued = line.endswith("\\")
    if not commands:
        return block[0]
    copied = html.escape("\n".join(commands)).replace("\n", "&#10;")
    return f'{block[1][:-1]} data-copy="{copied}">{block[2]}'


def on_page_context(context: Any, page: Page, config: MkDocsConfig, nav: Navigation) -> None:
    """Write, with the first page, llms.txt, a list of all, and llms-full.txt, their text."""
    if page.file.src_uri == "index.md":
        folder = Path(config.site_dir)
        text = f"# {config.site_name}\n\n> {config.site_description}\n\n"
        (folder / "llms.txt").write_text(text + "\n".join(listed(nav)) + "\n")
        (folder / "llms-full.txt").write_text("\n".join(str(each.markdown) for each in nav.pages))


def on_post_build(config: MkDocsConfig) -> None:
    """Write the index of the search as a script, for pages that are read from a folder."""
    folder = Path(config.site_dir, "search")
    index = (folder / "search_index.json").read_text()
    (folder / "search_index.js").write_text(f"var __index = {index}")


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
    yield f"::: {name}\n    options:"
    if names := getattr(module, "__all__", None):
        yield "      members: false\n"
        objects = {each: getattr(module, each) for each in sorted(names, key=_rank)}
        for each, value in objects.items():
            if getattr(value, "__module__", "") not in ("", "microvm.errors"):
                yield f"::: {name}.{each}\n    options:\n      show_root_heading: true"
                if isinstance(value, type):
                    members = [one for one in dir(value) if not one.startswith("_")]
                    yield f"      members: {sorted(members, key=_rank)}\n"
    else:
        public = import_module("microvm").__all__
        yield f"      members: {[each for each in vars(module) if each in public] or None}"


def _rank(name: str) -> tuple[int, str]:
    """Return the key that sorts names in the order of use, and other names by the alphabet."""
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


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
