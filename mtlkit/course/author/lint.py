"""The rules that every notebook keeps, as findings with file and line: `mtlkit build --lint`.

`lint_text` holds the rules of text and structure, `lint_code` those of code, `lint_folded` those of
folded cells, `lint_cards` those of exercise cards, `lint_questions` those of goals and quizzes,
`lint_outputs` those of what was run, `lint_terms` those of words. Errors fail the tests, warnings
are for the author to judge.
"""

from dataclasses import dataclass

from mtlkit.course.author import (
    copies,
    glossary,
    lint_cards,
    lint_code,
    lint_folded,
    lint_outputs,
    lint_questions,
    lint_terms,
    lint_text,
)
from mtlkit.course.author.folders import HERE, Folders
from mtlkit.course.author.make import Built


@dataclass(frozen=True)
class Finding:
    """One thing that breaks a rule; `error` is False for a warning."""

    where: str
    sentence: str
    error: bool = True
    terms: bool = False  # whether it is about the words of the glossary

    def __str__(self) -> str:
        return f"{self.where}: {'' if self.error else 'warning: '}{self.sentence}"


def lint(built: Built, folders: Folders = HERE) -> list[Finding]:
    """Everything that breaks a rule in one built notebook, outputs as they are in its copies."""
    name = built.source.path.name
    found = []
    for rule in (
        lint_text.rules(built, folders),
        lint_code.rules(built),
        lint_folded.rules(built),
        lint_questions.rules(built),
        lint_cards.rules(built.source),
    ):
        found += [Finding(f"{name}:{line}", text, error) for line, text, error in rule]
    for audience in copies.AUDIENCES:
        cells = copies.kept(built.source, audience)
        for position, text, error in lint_outputs.rules(getattr(built, audience), audience):
            line = cells[position - 1].line if position else 1
            found.append(Finding(f"{name}:{line}", f"{audience} copy, {text}", error))
    for line, text, error in lint_terms.rules(built.source, glossary.known(folders)):
        found.append(Finding(f"{name}:{line}", text, error, terms=True))
    return found
