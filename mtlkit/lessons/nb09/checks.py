"""Checkers of notebook 09: attention over padded events, a split by time, a rule that counts."""

import math

import torch

from mtlkit.course.learner.checker import Mistake, checker, observed, require_close, require_shape


def attended(q, events, real):
    scores = (events @ q.unsqueeze(2)).squeeze(2) / q.shape[1] ** 0.5  # (row, step)
    shares = torch.softmax(scores.masked_fill(~real, -1e9), dim=1) * real
    return (shares.unsqueeze(2) * events).sum(1)


def attended_stub(q, events, real):
    return ...


def _scores(q, events):
    return (events @ q.unsqueeze(2)).squeeze(2) / q.shape[1] ** 0.5


def _pool(shares, events):
    return (shares.unsqueeze(2) * events).sum(1)


def _hidden(scores, real):
    """Shares of the real events alone, 0 everywhere else."""
    return torch.softmax(scores.masked_fill(~real, -1e9), dim=1) * real


def no_mask(q, events, real):
    """Takes the softmax over padding as well."""
    return _pool(torch.softmax(_scores(q, events), dim=1), events)


def masked_after(q, events, real):
    """Takes the softmax over all places and sets the shares of padding to 0 afterwards."""
    return _pool(torch.softmax(_scores(q, events), dim=1) * real, events)


def scores_of_zero(q, events, real):
    """Gives padding the score 0 in place of none."""
    return _pool(torch.softmax(_scores(q, events) * real, dim=1), events)


def scores_of_zero_masked(q, events, real):
    """Gives padding the score 0, and sets its shares to 0 after the softmax."""
    return _pool(torch.softmax(_scores(q, events) * real, dim=1) * real, events)


def mean_where_empty(q, events, real):
    """Gives a row without events the mean of its padding."""
    return _pool(torch.softmax(_scores(q, events).masked_fill(~real, -1e9), dim=1), events)


def nan_where_empty(q, events, real):
    """Takes the softmax of minus infinity alone where a row has no event."""
    return _pool(torch.softmax(_scores(q, events).masked_fill(~real, -math.inf), dim=1), events)


def not_scaled(q, events, real):
    """Does not divide the scores by the root of the width."""
    return _pool(_hidden(_scores(q, events) * q.shape[1] ** 0.5, real), events)


def by_the_width(q, events, real):
    """Divides the scores by the width and takes no root."""
    return _pool(_hidden(_scores(q, events) / q.shape[1] ** 0.5, real), events)


def over_the_rows(q, events, real):
    """Takes the softmax over the rows of the batch."""
    shares = torch.softmax(_scores(q, events).masked_fill(~real, -1e9), dim=0) * real
    return _pool(shares, events)


def plain_mean(q, events, real):
    """Takes the mean of the real events and does not read q."""
    return _pool(real / real.sum(1, keepdim=True).clamp(min=1), events)


def plain_sum(q, events, real):
    """Adds the real events up and does not read q."""
    return _pool(real.to(events.dtype), events)


def sigmoids(q, events, real):
    """Gives each event a sigmoid of its own in place of a share."""
    return _pool(torch.sigmoid(_scores(q, events)) * real, events)


def scores_as_shares(q, events, real):
    """Multiplies the events by their scores and takes no softmax."""
    return _pool(_scores(q, events) * real, events)


def the_best_alone(q, events, real):
    """Takes the event with the highest score alone."""
    scores = _scores(q, events).masked_fill(~real, -1e9)
    best = scores.argmax(1)
    return events[torch.arange(len(events)), best] * real.any(1, keepdim=True)


def mean_of_the_weighed(q, events, real):
    """Takes the mean over the places in place of the sum."""
    return attended(q, events, real) / events.shape[1]


def padding_alone(q, events, real):
    """Turns the mask round."""
    return attended(q, events, ~real)


def weighs_q(q, events, real):
    """Hands q back in place of the events."""
    return q * _hidden(_scores(q, events), real).sum(1, keepdim=True)


EMPTY = (
    "In a row without a real event your result is no number (NaN). It must be zeros there: give "
    "padding a very low score, such as -1e9, and set its shares to 0 after the softmax."
)


@checker(
    "9.1",
    solution=attended,
    stub=attended_stub,
    wrong=[
        observed(nan_where_empty, EMPTY),
        (no_mask, "Your softmax runs over padding as well. Only real events may get a share."),
        (
            masked_after,
            "You set the shares of padding to 0 after the softmax has counted it, so those of the "
            "real events no longer sum to 1. Hide padding before the softmax.",
        ),
        (
            scores_of_zero,
            "Your padding has the score 0, and exp(0) is 1: it still gets a share. Give it a very "
            "low score.",
        ),
        (
            scores_of_zero_masked,
            "Your padding has the score 0 when the softmax is taken, and exp(0) is 1: so the "
            "shares of the real events do not sum to 1. Give it a very low score.",
        ),
        (
            mean_where_empty,
            "A row without a real event gets the mean of its padding; it must get zeros. Set the "
            "shares of padding to 0 after the softmax, too.",
        ),
        (not_scaled, "Divide the scores by the root of the width, `q.shape[1] ** 0.5`."),
        (by_the_width, "You divide the scores by the width; divide by its root."),
        (over_the_rows, "Your softmax runs over the rows; it belongs over the events of each row."),
        (plain_mean, "You take the mean of the real events: q plays no part."),
        (plain_sum, "You add the real events up: q plays no part."),
        (
            sigmoids,
            "Each of your events has a sigmoid of its own, so the shares do not sum to 1. Take a "
            "softmax over the events.",
        ),
        (scores_as_shares, "You weigh the events by their scores; the softmax is missing."),
        (
            the_best_alone,
            "You take the event with the highest score alone. Each real event gets its share.",
        ),
        (mean_of_the_weighed, "You divide by the number of places. Shares sum to 1: add up."),
        (padding_alone, "Your mask is turned round: the shares go to padding, not to real events."),
        (weighs_q, "You add up q, share by share; the events are to be added up."),
    ],
    praise="Real events share one whole, padding changes nothing, and no events give zeros.",
)
def attention_over_padding(answer, seed):
    for case, (rows, steps, width) in enumerate(((4, 5, 3), (5, 4, 6), (3, 6, 2), (6, 3, 4))):
        luck = torch.Generator().manual_seed(100 * seed + case)
        q, events = 2 * _normal(luck, rows, width), 1 + _normal(luck, rows, steps, width)
        count = torch.randint(1, steps, (rows,), generator=luck)
        count[0], count[1] = 0, steps
        real = torch.arange(steps) < count[:, None]
        found = answer(q, events, real)
        require_shape(found, (rows, width))
        if found[count == 0].isnan().any() and found[count > 0].isfinite().all():
            raise Mistake(EMPTY)
        for row in range(rows):
            there = events[row, : count[row]].tolist()
            require_close(
                found[row],
                _one_row(q[row].tolist(), there),
                f"Row {row}, with {len(there)} real events, should give {{wanted}}, yours gives "
                "{found}.",
            )
        other = torch.where(real.unsqueeze(2), events, 5 * _normal(luck, rows, steps, width))
        require_close(
            answer(q, other, real), found, "Your result changes with the padding's numbers."
        )


def _normal(luck, *shape):
    return torch.randn(*shape, generator=luck, dtype=torch.float64)


def _one_row(q, events):
    """The slow reference, in plain Python numbers: the events of one row, without padding."""
    powers = [
        math.exp(sum(a * b for a, b in zip(q, event, strict=True)) / math.sqrt(len(q)))
        for event in events
    ]
    whole = math.fsum(powers) or 1.0
    return torch.tensor(
        [
            math.fsum(power / whole * event[place] for power, event in zip(powers, events))
            for place in range(len(q))
        ],
        dtype=torch.float64,
    )


def by_time(session, time, is_label, cut):
    asked = torch.zeros(int(session.max()) + 1, dtype=time.dtype)
    asked[session[is_label]] = time[is_label]
    return time < asked[session], asked < cut


def by_time_stub(session, time, is_label, cut):
    return ...


def _asked(session, time, is_label):
    """The time of each session's label, (session,)."""
    asked = torch.zeros(int(session.max()) + 1, dtype=time.dtype)
    asked[session[is_label]] = time[is_label]
    return asked


def _ends(session, time, how):
    """The first or the last time of each session ("amin", "amax"), (session,)."""
    start = torch.zeros(int(session.max()) + 1, dtype=time.dtype)
    return start.scatter_reduce(0, session, time, how, include_self=False)


def label_in_history(session, time, is_label, cut):
    """Lets the label's own moment into the history."""
    asked = _asked(session, time, is_label)
    return time <= asked[session], asked < cut


def all_but_the_label(session, time, is_label, cut):
    """Takes every event but the label for history."""
    return ~is_label, _asked(session, time, is_label) < cut


def rows_before_the_label(session, time, is_label, cut):
    """Takes the rows above the label's row for history."""
    place = torch.zeros(int(session.max()) + 1, dtype=torch.long)
    place[session[is_label]] = is_label.nonzero().flatten()
    above = torch.arange(len(session)) < place[session]
    return above, _asked(session, time, is_label) < cut


def history_to_the_cut(session, time, is_label, cut):
    """Takes what comes before the cut for history."""
    return time < cut, _asked(session, time, is_label) < cut


def history_cut_off(session, time, is_label, cut):
    """Drops from the history what comes after the cut."""
    history, training = by_time(session, time, is_label, cut)
    return history & (time < cut), training


def before_the_end(session, time, is_label, cut):
    """Takes what comes before the session's last event for history."""
    last = _ends(session, time, "amax")
    return time < last[session], _asked(session, time, is_label) < cut


def after_the_label(session, time, is_label, cut):
    """Takes what comes after the label for history."""
    asked = _asked(session, time, is_label)
    return time > asked[session], asked < cut


def by_the_first_event(session, time, is_label, cut):
    """Puts a session into training by the time of its first event."""
    return by_time(session, time, is_label, cut)[0], _ends(session, time, "amin") < cut


def by_the_last_event(session, time, is_label, cut):
    """Puts a session into training by the time of its last event."""
    return by_time(session, time, is_label, cut)[0], _ends(session, time, "amax") < cut


def at_the_cut(session, time, is_label, cut):
    """Lets a label at the cut itself into training."""
    history, _ = by_time(session, time, is_label, cut)
    return history, _asked(session, time, is_label) <= cut


def test_for_training(session, time, is_label, cut):
    """Calls the later sessions training."""
    history, training = by_time(session, time, is_label, cut)
    return history, ~training


def each_event_by_its_time(session, time, is_label, cut):
    """Cuts the log at the event's own time, so that a session falls apart."""
    return by_time(session, time, is_label, cut)[0], time < cut


def training_of_events(session, time, is_label, cut):
    """Says of each event whether its session is in training."""
    history, training = by_time(session, time, is_label, cut)
    return history, training[session]


def turned_round(session, time, is_label, cut):
    """Returns the two in the other order."""
    history, training = by_time(session, time, is_label, cut)
    return training, history


@checker(
    "9.2",
    solution=by_time,
    stub=by_time_stub,
    wrong=[
        (turned_round, "You return the two in the other order: first history, then training."),
        (
            label_in_history,
            "Your history holds what happens at the label's own moment, the label included. It "
            "ends strictly before.",
        ),
        (
            all_but_the_label,
            "Your history holds events that come after the label. When the model is asked, nobody "
            "knows them.",
        ),
        (
            rows_before_the_label,
            "You go by the order of the rows. The log is not sorted: compare times.",
        ),
        (
            history_to_the_cut,
            "Your history ends at the cut. It ends at the label of the event's own session.",
        ),
        (
            history_cut_off,
            "You drop events after the cut from histories. A later session's label is asked for "
            "later, too: what comes before it is known then.",
        ),
        (
            before_the_end,
            "Your history runs up to the session's last event. It ends before the label, which "
            "may come earlier.",
        ),
        (after_the_label, "Your history is what comes after the label; it is what comes before."),
        (
            by_the_first_event,
            "You go by the session's first event. If its label comes after the cut, training "
            "would learn from what is not known yet.",
        ),
        (
            by_the_last_event,
            "You go by the session's last event. What decides is when its label happens.",
        ),
        (at_the_cut, "A label at the cut itself belongs to the test: before the cut is `<`."),
        (test_for_training, "You call the later sessions training; it is the earlier ones."),
        (
            each_event_by_its_time,
            "You go by the time of each event. `training` has one entry a session, by the time of "
            "its label.",
        ),
        (
            training_of_events,
            "Your `training` has one entry an event; it needs one a session.",
        ),
    ],
    praise="Each history ends before its label, and training ends before the test begins.",
)
def split_that_does_not_look_ahead(answer, seed):
    for case, (sessions, shift) in enumerate(((6, 0), (9, 3), (12, 1), (7, 2))):
        luck = torch.Generator().manual_seed(100 * seed + case)
        session, time, is_label, cut = _log(luck, sessions, shift)
        history, training = answer(session, time, is_label, cut)
        require_shape(
            history,
            session.shape,
            "`history` should have one entry an event, {wanted}; yours has the shape {found}.",
        )
        require_shape(
            training,
            (sessions,),
            "`training` should have one entry a session, {wanted}; yours has the shape {found}.",
        )
        asked = {int(session[at]): float(time[at]) for at in is_label.nonzero().flatten()}
        for at in range(len(session)):
            own = int(session[at])
            before = float(time[at]) < asked[own]
            require_close(
                history[at],
                before,
                f"The event at minute {float(time[at]):g} of session {own}, whose label happens at "
                f"{asked[own]:g}, {'belongs' if before else 'does not belong'} to its history.",
            )
        for own in range(sessions):
            early = asked[own] < cut
            side = "training" if early else "the test"
            require_close(
                training[own],
                early,
                f"The label of session {own} happens at minute {asked[own]:g} and the cut is at "
                f"{cut:g}: the session belongs to {side}.",
            )


def _log(luck, sessions, shift):
    """An event log in no order: one label a session, events before, at and after it."""
    cut, rows = 100.0, []
    for number in range(sessions):
        # in turn: all before the cut, begun before and asked after, ended after, at it, all after
        asked = (40.0, 110.0, 95.0, 100.0, 160.0)[(number + shift) % 5]
        rows += [(number, asked - 30 + step, False) for step in range(3)]
        rows += [(number, asked - 1, False), (number, asked, True), (number, asked, False)]
        rows += [(number, asked + 8, False), (number, asked + 9, False)]
    order = torch.randperm(len(rows), generator=luck).tolist()
    session, time, is_label = zip(*(rows[at] for at in order), strict=True)
    return (
        torch.tensor(session), torch.tensor(time, dtype=torch.float64), torch.tensor(is_label), cut
    )  # fmt: skip


MARGIN = 0.10  # of new visits, above "same again"


def counted(histories, following, new):
    counts = torch.eye(10).repeat(10, 1)  # (pair, next): a start for pairs that nobody has shown
    counts.index_put_(
        (10 * histories[:, -2] + histories[:, -1], following),
        torch.ones(len(following)),
        accumulate=True,
    )
    return counts[10 * new[:, -2] + new[:, -1]].argmax(1)


def counted_stub(histories, following, new):
    return ...


def _most(keys, following, asked, size):
    """The most frequent next category of each key; the first of those that are as frequent."""
    counts = torch.zeros(size, 10)
    counts.index_put_((keys, following), torch.ones(len(keys)), accumulate=True)
    return counts[asked].argmax(1)


def same_again(histories, following, new):
    """Says the last category again."""
    return new[:, -1]


def one_before(histories, following, new):
    """Says the last category but one."""
    return new[:, -2]


def first_of_the_history(histories, following, new):
    """Says the first category of the history."""
    return new[:, 0]


def most_frequent(histories, following, new):
    """Says the most frequent next category of all sessions."""
    return following.bincount(minlength=10).argmax().expand(len(new))


def most_visited(histories, following, new):
    """Says the category that the history holds most often."""
    return torch.nn.functional.one_hot(new, 10).sum(1).argmax(1)


def pair_turned_round(histories, following, new):
    """Looks the pair up in the other order."""
    return counted(histories, following, new.flip(1)[:, :2])


def row_by_row(histories, following, new):
    """Gives new session r the answer of training session r."""
    return following[: len(new)]


def a_step_late(histories, following, new):
    """Counts what came before the last step in place of what followed it."""
    return _most(
        10 * histories[:, 0] + histories[:, 1], histories[:, 2], 10 * new[:, 0] + new[:, 1], 100
    )


def _table(histories, following):
    counts = torch.eye(10).repeat(10, 1)
    pairs = 10 * histories[:, -2] + histories[:, -1]
    counts.index_put_((pairs, following), torch.ones(len(pairs)), accumulate=True)
    return counts


def counts_themselves(histories, following, new):
    """Returns the counts of all categories."""
    return _table(histories, following)[10 * new[:, -2] + new[:, -1]]


def highest_count(histories, following, new):
    """Returns the highest count in place of its category."""
    return counts_themselves(histories, following, new).amax(1)


def of_the_training_sessions(histories, following, new):
    """Predicts the training sessions."""
    return counted(histories, following, histories)


@checker(
    "9.3",
    solution=counted,
    stub=counted_stub,
    wrong=[
        (
            same_again,
            "Every new session gets its last category again: that is the rule to beat. Counts by "
            "the last category alone end there, too; read the step before as well.",
        ),
        (one_before, "You always go back to the last category but one."),
        (first_of_the_history, "You always say the first category of the history."),
        (most_frequent, "All new visits get the most frequent category; read their histories."),
        (
            most_visited,
            "You say the category that the history holds most often. What followed such histories "
            "in training plays no part.",
        ),
        (
            pair_turned_round,
            "You look pairs up in the other order: the category before last comes first, then the "
            "last one.",
        ),
        (
            row_by_row,
            "New session r gets the answer of training session r; they have nothing to do with "
            "each other.",
        ),
        (
            a_step_late,
            "You predict the last category of the history, which is known. What follows it is "
            "asked for.",
        ),
        (counts_themselves, "You return counts, one a category; return the category: `argmax`."),
        (highest_count, "You return how often it was seen; return the category itself: `argmax`."),
        (
            of_the_training_sessions,
            "You predict the training sessions; one answer for each new session is needed.",
        ),
    ],
    praise="It learns from what followed in other sessions, and beats the simple rule.",
)
def beat_the_rule(answer, seed):
    for case in range(3):
        luck = torch.Generator().manual_seed(100 * seed + case)
        partner = (torch.arange(10) + torch.randint(1, 5, (1,), generator=luck)) % 10
        histories, following = _visitors(luck, 6_000, partner)
        new, truth = _visitors(luck, 2_000, partner)
        found = answer(histories, following, new)
        require_shape(
            found,
            (len(new),),
            "One category for each new session is needed, the shape {wanted}; yours is {found}.",
        )
        rule, own = (float((said == truth).double().mean()) for said in (new[:, -1], found))
        if not own >= rule + MARGIN:
            raise Mistake(
                f"Your rule is right for {100 * own:.0f} % of the new visits, the same category "
                f"again for {100 * rule:.0f} %. At least {100 * MARGIN:.0f} points more are needed."
            )


def _visitors(luck, rows, partner):
    """Three categories seen, oldest first (row, 3), and the next one (row,).

    Of ten visitors five stay where they are, three look for what goes with the last thing, two go
    back and forth; one step in four is any category.
    """
    kind = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)[torch.randint(10, (rows,), generator=luck)]
    path = torch.randint(10, (rows, 2), generator=luck)
    for _ in range(4):
        before, last = path[:, -2], path[:, -1]
        ways = torch.stack([last, partner[last], before])
        step = ways.gather(0, kind[None])[0]
        any_step = torch.rand(rows, generator=luck) < 0.25
        step = torch.where(any_step, torch.randint(10, (rows,), generator=luck), step)
        path = torch.cat([path, step[:, None]], dim=1)
    return path[:, -4:-1], path[:, -1]
