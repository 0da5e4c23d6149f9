"""The cards of a source, drawn as markdown for the copies and written as data for the learner."""

import json
from dataclasses import dataclass

from mtlkit.course.author.answer_cells import answers
from mtlkit.course.author.cuts import cuts
from mtlkit.course.author.plan import for_a_class, make_plan, sentence
from mtlkit.course.author.source import Exercise, Source

_STEPS = {"look": 1, "fill in": 1, "modify": 2, "write": 2, "challenge": 3}


@dataclass(frozen=True)
class Place:
    """Where a notebook stands in the course: its neighbours and what exists beside it.

    `notebooks` maps "02" to ("02_share_the_bottom", "Share the bottom") for every source in the
    folder. `slides` says that it has a deck, `built` that the deck's HTML is there.
    """

    notebooks: dict[str, tuple[str, str]]
    slides: bool = False
    built: bool = False

    def deck(self, name: str, up: str) -> str:
        """The link to the deck of a notebook, from a folder that lies `up` below the checkout."""
        page, text = f"{up}slides/{name}.html", f"{up}slides/{name}.md"
        return f"[slides]({page}) ([text]({text}))" if self.built else f"[slides]({text})"


def as_json(source: Source) -> str:
    """The card file of a source, as text."""
    plan = make_plan(source)
    exercises = {
        e.id: {
            "level": e.level,
            **({"importance": e.importance} if e.importance else {}),
            "minutes": e.minutes,
            "goal": e.goal,
            "hints": e.hints,
        }
        for e in source.exercises.values()
    }
    content = {
        "title": source.title.title,
        "question": source.title.question,
        "minutes": plan.as_data(),
        "class": for_a_class(plan.total, [cut.minutes for cut in cuts(source)]),
        "exercises": exercises,
        "answers": answers(source),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def draw_title(source: Source, place: Place, audience: str) -> str:
    """The title card as markdown; links are relative to `notebooks/`."""
    title = source.title
    rows = [
        f"# {source.number} · {title.title}",
        "",
        f"**{title.question}**",
        "",
        *([title.body, ""] if title.body else []),
        f"- **Minutes:** {sentence(make_plan(source).as_data())}",
    ]
    if title.needs:
        rows.append("- **Builds on:** " + ", ".join(_link(place, number) for number in title.needs))
    order = sorted(place.notebooks)
    at = order.index(source.number) if source.number in order else -1
    around = []
    if at > 0:
        around.append("previous " + _link(place, order[at - 1]))
    if 0 <= at < len(order) - 1:
        around.append("next " + _link(place, order[at + 1]))
    if around:
        rows.append("- **Around it:** " + ", ".join(around))
    beside = []
    if place.slides:
        beside.append(place.deck(source.name, "../"))
    if audience == "learner":
        beside.append(f"[solution](solutions/{source.name}.ipynb), for afterwards")
    else:
        beside.append(f"[the learner's copy]({source.name}.ipynb) of this solution")
    rows.append("- **Beside it:** " + ", ".join(beside))
    return "\n".join(rows)


def draw_exercise(exercise: Exercise) -> str:
    """An exercise card as markdown."""
    steps = _STEPS[exercise.level]
    named = ", ".join(filter(None, (exercise.level, exercise.importance)))
    return "\n".join(
        [
            f"## Exercise {exercise.id}: {exercise.level}",
            "",
            f"> **Goal:** you can {exercise.goal.rstrip('.')}.  ",
            f"> **Level:** {'●' * steps}{'○' * (3 - steps)} {named}, "
            f'about {exercise.minutes} minutes. **Stuck?** Run `hint("{exercise.id}")`.',
            "",
            exercise.body,
        ]
    )


def _link(place: Place, number: str) -> str:
    if number not in place.notebooks:
        return f"notebook {number}"
    name, title = place.notebooks[number]
    return f"[{number} {title}]({name}.ipynb)"
