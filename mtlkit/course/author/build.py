"""The command `mtlkit build`: every generated notebook file from its source.

A source `notebooks/src/NN_topic.py` gives the learner's copy, the solution copy, the instructor
page and the card file; all together give the table in the README. The glossary's data and those of
the survey article give their pages. Outputs of unchanged cells are kept, so a rebuild changes
nothing that did not change.
"""

import argparse
import os
import sys
from pathlib import Path

from mtlkit.course.author import article, article_page, glossary, glossary_page, readme, reference
from mtlkit.course.author.folders import HERE, Folders, source_paths
from mtlkit.course.author.lint import Finding, lint
from mtlkit.course.author.make import build_one, execute_all, write_all
from mtlkit.course.author.source import SourceError
from mtlkit.course.author.stale import differences, orphans, stale_records
from mtlkit.files import write_if_new


def main(argv: list[str] | None = None, folders: Folders = HERE) -> int:
    """The command `mtlkit build`; returns the exit status: 0, or 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="mtlkit build", description="Build the notebooks.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail on a difference")
    parser.add_argument(
        "--only", action="append", metavar="NN", help="one notebook; may be repeated"
    )
    parser.add_argument("--execute", action="store_true", help="run both copies, store outputs")
    parser.add_argument("--smoke", action="store_true", help="with --execute: the small sizes")
    parser.add_argument(
        "--full", action="store_true", help="with --execute: the full sizes (default)"
    )
    parser.add_argument("--lint", action="store_true", help="report what breaks the course's rules")
    options = parser.parse_args(argv)
    if options.smoke and options.full:
        parser.error("--smoke and --full exclude each other")
    if options.check and options.execute:
        parser.error("--check changes nothing, so it cannot --execute")
    paths = source_paths(folders, options.only)
    if not paths:
        print(f"There are no sources in {folders.sources}.")
    trouble: list[str] = []
    warnings: list[Finding] = []
    for path in paths:
        trouble += _one(path, folders, options, warnings)
    if options.lint:
        terms = sum(warning.terms for warning in warnings)
        print(f"{len(warnings)} warnings, {terms} of them about terms")
    trouble += _readme(folders, options.check)
    trouble += _appendix(folders, options.check)
    if options.check and not options.only:
        trouble += orphans(folders)
    if folders.reference is not None and not options.only:
        trouble += _reference(folders.reference, options.check)
    for sentence in trouble:
        print(sentence, file=sys.stderr)
    if options.check and trouble:
        print("Run `python -m mtlkit build` and commit what it writes.", file=sys.stderr)
    return 1 if trouble else 0


def _one(
    path: Path, folders: Folders, options: argparse.Namespace, warnings: list[Finding]
) -> list[str]:
    """Build one source as asked; returns what is wrong, and adds its warnings to `warnings`."""
    from nbclient.exceptions import CellExecutionError

    trouble: list[str] = []
    try:
        built = build_one(path, folders)
        if options.check:
            trouble += differences(built, folders) + stale_records(built, folders)
        else:
            write_all(built, folders)
        if options.execute:
            mode = "smoke" if options.smoke else "full"
            trouble += execute_all(built, folders, mode)
            write_all(built, folders)
    except SourceError as error:
        return error.problems
    except CellExecutionError as error:
        return [f"{path.name}: a cell failed while running:{os.linesep}{error}"]
    if options.lint:
        for finding in lint(built, folders):
            if finding.error:
                trouble.append(str(finding))
            else:
                print(finding)
                warnings.append(finding)
    if not trouble:
        print(f"{path.name}: {'up to date' if options.check else 'built'}")
    return trouble


def _readme(folders: Folders, check: bool) -> list[str]:
    """Write the README's table of notebooks, or say that it is stale."""
    path = readme.place(folders)
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    wanted = readme.with_table(text, folders)
    if check:
        return [] if text == wanted else [f"{path.name}: its table of notebooks is stale"]
    write_if_new(path, wanted)
    return []


def _appendix(folders: Folders, check: bool) -> list[str]:
    """Write the pages of the glossary and of the article, or say that they are stale."""
    trouble = []
    for data, page in ((glossary, glossary_page), (article, article_page)):
        source, path = data.place(folders), page.place(folders)
        shown = folders.shown(path)
        if not source.is_file():
            trouble += [f"{shown}: its source is gone; delete it"] if path.exists() else []
            continue
        try:
            text = page.page(data.read(source), folders)
        except (glossary.GlossaryError, article.ArticleError) as error:
            trouble += error.problems
            continue
        if not check:
            write_if_new(path, text)
        elif not path.exists() or path.read_bytes() != text.encode("utf-8"):
            trouble.append(f"{shown}: differs from what {source.name} gives")
    return trouble


def _reference(path: Path, check: bool) -> list[str]:
    """Write the page of all public names, or say that it is stale."""
    text = reference.page()
    if not check:
        write_if_new(path, text)
    elif not path.exists() or path.read_bytes() != text.encode("utf-8"):
        return [f"docs/{path.name}: differs from what the sources give"]
    return []


if __name__ == "__main__":
    sys.exit(main())
