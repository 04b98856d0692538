"""`microvm completion`: completion of microvm's command lines in bash, zsh and fish.

The scripts in `_SCRIPTS` define a shell function that runs `microvm` with the variable
MICROVM_COMPLETE. Its value is: those of the characters `:` and `=` at which the shell splits words;
a space; and the command line up to the cursor. `microvm` then prints one line for each completion:
its type (`plain`, `file` or `dir`), the word, and a description, separated by tabs.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import NoReturn

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

_BASH = r"""# microvm's completion for bash
_microvm() {
    local type word rest line=${COMP_LINE:0:COMP_POINT} IFS=$'\n'
    COMPREPLY=()
    while IFS=$'\t' read -r type word rest; do
        case $type in
        plain)
            COMPREPLY+=("$(printf %q "$word")")
            [[ $word != *: ]] || compopt -o nospace 2>/dev/null ;;
        file)  # beside a machine's name, `filenames` would escape its colon: web\:
            ((${#COMPREPLY[@]})) || compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -f -- "$word")) ;;
        dir) compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -d -- "$word")) ;;
        esac
    done < <(MICROVM_COMPLETE="${COMP_WORDBREAKS//[^:=]/} $line" "$1" 2>/dev/null)
}
complete -o nosort -F _microvm microvm
"""

_ZSH = r"""#compdef microvm
# microvm's completion for zsh
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_microvm() {
    local type word rest
    local -a words_ described
    while IFS=$'\t' read -r type word rest; do
        case $type in
        plain)
            [[ $word == *: ]] && { compadd -S '' -- "$word"; continue }
            words_+=("$word"); described+=("$word${rest:+  -- $rest}") ;;
        file) compset -P '*='; _files ;;
        dir) compset -P '*='; _files -/ ;;
        esac
    done < <(MICROVM_COMPLETE=" ${(j: :)words[1,CURRENT]}" "${words[1]}" 2>/dev/null)
    (( $#words_ )) && compadd -l -V microvm -d described -a words_
}
compdef _microvm microvm
"""

_FISH = r"""# microvm's completion for fish
function __microvm
    set -l line (commandline -cp | string collect)
    for each in (MICROVM_COMPLETE=" $line" microvm 2>/dev/null)
        set -l parts (string split \t -- $each)
        switch $parts[1]
            case plain
                printf '%s\t%s\n' $parts[2] $parts[3]
            case file
                __fish_complete_path $parts[2]
            case dir
                __fish_complete_directories $parts[2]
        end
    end
end
complete --command microvm --no-files --keep-order --arguments '(__microvm)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command()
@click.argument("shell", type=click.Choice(list(_SCRIPTS)), required=False)
@click.option("--install", is_flag=True, help="Install the script for the current user.")
def completion(shell: str | None, install: bool) -> None:
    """Print or install a script for tab completion in a shell.

    The script is for bash, zsh or fish, by default for the shell that the variable SHELL names.
    With the script, the Tab key completes verbs, options, files, and the names of images, snapshots
    and machines. --install makes the script available in each new shell; run it again after an
    update of microvm.
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in _SCRIPTS:
        raise click.UsageError(
            f"The variable SHELL names no supported shell: give one of {', '.join(_SCRIPTS)}"
        )
    if install:
        _install(shell)
    else:
        click.echo(_SCRIPTS[shell], nl=False)


def _install(shell: str) -> None:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    script = {
        "bash": data / "bash-completion/completions/microvm",
        "zsh": data / "microvm/completion.zsh",
        "fish": config / "fish/completions/microvm.fish",
    }[shell]
    _write(script, _SCRIPTS[shell])
    # load the script in .zshrc, because zsh searches no folder in the user's home for scripts
    if shell == "zsh":
        startup = Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc"
        _add_line(startup, f"source {shlex.quote(str(script))}")
    if shell == "bash" and not Path("/usr/share/bash-completion/bash_completion").exists():
        _add_line(Path.home() / ".bashrc", f"source {shlex.quote(str(script))}")
    click.echo(
        f"Each new {shell} loads the script. To load it in this shell, run: "
        f"source {shlex.quote(str(script))}"
    )


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        click.echo(f"{path}: up to date")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"{path}: written")


def _add_line(path: Path, line: str) -> None:
    """Append a line to a startup file of the user, unless the file contains the line already."""
    text = path.read_text(errors="surrogateescape") if path.exists() else ""
    if line in text.splitlines():
        click.echo(f"{path}: already loads the script")
        return
    with path.open("a") as file:
        file.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n")
    click.echo(f"{path}: added a last line that loads the script")


class _Completer(ShellComplete):
    """A class for click that completes the last word of a command line."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ[self.complete_var].partition(" ")[2]
        _, *words = split_arg_string(line) or [""]
        is_new = not words or line[-1:].isspace()
        return (words, "") if is_new else (words[:-1], words[-1])

    def complete(self) -> str:
        words, incomplete = self.get_completion_args()
        option, equals, _ = incomplete.partition("=")
        before = option + equals if equals and option.startswith("-") else ""
        # The shell splits words at characters such as `:`, and replaces only the last piece. So
        # print only the text after the last such character.
        breaks = os.environ[self.complete_var].partition(" ")[0]
        kept = 1 + max((incomplete.rfind(each) for each in breaks), default=-1)
        for item in (found := self.get_completions(words, incomplete)):
            item.value = (before + item.value)[kept:]
        return "".join(map(self.format_completion, found))

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type}\t{item.value}\t{item.help or ''}\n"


def answer(cli: click.Command, variable: str) -> NoReturn:
    """Print completions for the command line in the environment variable `variable`, and exit."""
    click.echo(_Completer(cli, {}, "microvm", variable).complete(), nl=False)
    raise SystemExit(0)
