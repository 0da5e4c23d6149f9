"""The synthetic shop: one generator, many tables, known truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import polars as pl

from mtlkit.data.table import Table
from mtlkit.shop.ads import ads_frame
from mtlkit.shop.behaviour import Behaviour
from mtlkit.shop.content_frame import content_impressions_frame, contents_frame
from mtlkit.shop.content_log import ContentLog
from mtlkit.shop.content_table import content_table
from mtlkit.shop.dials import load_dials, presets
from mtlkit.shop.impression_frame import impressions_frame
from mtlkit.shop.impression_table import TableFiller
from mtlkit.shop.impressions import ImpressionLog
from mtlkit.shop.live import Live
from mtlkit.shop.margins import margins
from mtlkit.shop.oracle import oracle_metrics
from mtlkit.shop.session_process import SessionLog
from mtlkit.shop.sessions import sessions_frame, sessions_table
from mtlkit.shop.world import World


class Market(World):
    """A shop whose every probability is known: a world, and every table that is drawn from it.

    `preset` names a file of datasets/markets; `seed` decides every draw; `dials` change single
    dials (see `dials.Dials`): `Market("small", seed=1, noise=0.0)`. Raises ValueError for an
    unknown preset or dial, and for a value outside its range.
    """

    def __init__(self, preset: str | None = "small", seed: int = 0, **dials: float | str) -> None:
        self.preset = preset
        super().__init__(seed, load_dials(preset, dials))

    @staticmethod
    def presets() -> list[str]:
        """Names of the presets in datasets/markets."""
        return presets()

    @cached_property
    def behaviour(self) -> Behaviour:
        """How visitors behave, behind the log and the live shop (built on first use)."""
        return Behaviour(self)

    @cached_property
    def log(self) -> ImpressionLog:
        """The impression log behind the tables (built on first use)."""
        return ImpressionLog(self.behaviour)

    @cached_property
    def session_log(self) -> SessionLog:
        """The session log behind the tables (built on first use)."""
        return SessionLog(self)

    # --- impressions -------------------------------------------------------------------------

    def impressions(self, rows: int, start: int = 0, chunk: int = 200_000) -> Table:
        """Impressions with labels, truths and keys.

        Tasks: click; cart and purchase (given click); dwell in seconds (given click); return and
        rating 1..5 (given purchase). `truth` holds the true value of each task for every row, also
        where the label was never seen: P(click), P(cart | click), P(purchase | click), mean dwell,
        P(return | purchase), mean rating; besides `checkout` = P(purchase | cart), `dwell_log1p` =
        mean of log(1 + dwell) and `score_<outcome>`, the logits before the row's luck. With a
        wish list (dial `wish_rate` above 0) there is a seventh task, wish (given click). With the
        dial `stock_columns` there are two more dense columns, sales_7d (pieces sold in the last
        full week), as log1p - 2, and stock (pieces left this morning), as log1p - 2.5, and the
        truth `in_stock`: what is sold out is never bought, so that `checkout` and `purchase` are 0
        there.

        Row r is the same in every table that holds it, whatever `start` and `chunk` were; pages of
        `page_size` rows share visitor, time and scenario. At most `chunk` rows are worked on at a
        time. Rows are in no order of time. Raises ValueError for rows below 1 or a negative start.
        """
        _whole("rows", rows, 1)
        _whole("start", start, 0)
        _whole("chunk", chunk, 1)
        filler = TableFiller(self, rows)
        for begin in range(0, rows, chunk):
            filler.fill(self.log.columns(start + begin, min(chunk, rows - begin)), begin)
        return filler.table(start)

    def impression_chunks(self, rows: int, start: int = 0, chunk: int = 200_000) -> Iterator[Table]:
        """The same rows as `impressions`, one table of at most `chunk` rows after the other."""
        for begin in range(0, rows, chunk):
            yield self.impressions(min(chunk, rows - begin), start + begin, chunk)

    def impressions_frame(self, rows: int, start: int = 0, truth: bool = False) -> pl.DataFrame:
        """The same rows as a person would export them: words, gaps, and faults (dial `dirt`).

        Labels are null where not observed; `row` is the row id of the table. Doubled rows come on
        top of `rows`. truth=True adds the truth columns. `impression_frame.clean_impressions` mends
        the faults and `impression_frame.impression_encoder` turns the result into a table.
        """
        _whole("rows", rows, 1)
        _whole("start", start, 0)
        return impressions_frame(self.log, rows, start, truth)

    # --- contents and ads --------------------------------------------------------------------

    @cached_property
    def content_log(self) -> ContentLog:
        """The log of the contents (built on first use). Raises ValueError where there are none."""
        return ContentLog(self.behaviour)

    def contents_frame(self) -> pl.DataFrame:
        """The guides and videos in words; see `mtlkit.shop.content_frame`."""
        return contents_frame(self)

    def content_impressions(self, rows: int, start: int = 0, chunk: int = 200_000) -> Table:
        """Impressions of contents (dial `contents`) by the same users; promises as `impressions`.

        They are visits of their own: a `session` here is another than that of the same number
        among the impressions, so join the two tables by user and not by session.

        Tasks: open; finish, seconds and visit (given open): read or watched to the end, for how
        long, and whether the visitor went on to a product that the content is about. `truth` holds
        for every row P(open), P(finish | open), mean seconds, P(visit | open); besides
        `seconds_log1p`, the mean of log(1 + seconds), `score_open` and `score_visit`, the logits
        before luck, and `visit_worth`: the margin in euro that a visit is expected to bring.
        """
        _whole("rows", rows, 1)
        _whole("start", start, 0)
        _whole("chunk", chunk, 1)
        return content_table(self.content_log, rows, start, chunk)

    def content_impressions_frame(
        self, rows: int, start: int = 0, truth: bool = False
    ) -> pl.DataFrame:
        """The same rows in words, without faults; truth=True adds the truth columns.

        `content_frame.content_encoder` turns the result into a table.
        """
        _whole("rows", rows, 1)
        _whole("start", start, 0)
        return content_impressions_frame(self.content_log, rows, start, truth)

    def ads(self) -> pl.DataFrame:
        """One row a promoted item: item, seller, bid in euro a click (dial `ad_bid`), quality."""
        return ads_frame(self)

    @cached_property
    def margins(self) -> np.ndarray:
        """Margin of one piece of each product in euro, (item,); see `shop.margins`."""
        return margins(self)

    # --- other tables ------------------------------------------------------------------------

    def sessions(self, rows: int, start: int = 0) -> Table:
        """Sessions: history and query words; tasks next_category, intent and purchase.

        Truths, for every row: P(next category), (row, 10); P(intent), (row, 5); P(purchase), all
        given exactly what a model may read.

        With a clock (dial `gap_tells` above 0) there is a sequence history_gap beside the history:
        1 for the first event, then 2 .. 10 for gaps of at least 0, 0.5, 1, 2, .. 64 minutes before
        an event. With newcomers (dial `new_users`) a share of the users first comes in the later
        half of the days, and their fields of the past are those of nobody (no visits, 0, 0); the
        truth still knows their lasting habits, so for them it is a bound that no model reaches.
        Raises ValueError for rows below 1 or a negative start.
        """
        _whole("rows", rows, 1)
        _whole("start", start, 0)
        return sessions_table(self.session_log, rows, start)

    def sessions_frame(self, rows: int, start: int = 0) -> pl.DataFrame:
        """The sessions in words; with a clock (dial `gap_tells`), `history_gap` lists minutes."""
        _whole("rows", rows, 1)
        _whole("start", start, 0)
        return sessions_frame(self.session_log, rows, start)

    def session_events(self, rows: int, start: int = 0) -> pl.DataFrame:
        """The same sessions as a log, one row an event, by session and time.

        Columns: session, user, time (in minutes, since day 0 began; `mtlkit.data.gap_ids` and
        `gaps_before` take seconds, so give them 60 times it; two sessions of one user may
        overlap), kind, item, category, words. A session is its history (kind "view"), a "search"
        with words (no item and no category), then what nobody knew when the labels were asked for:
        the "view" of the next category, and a "purchase" of that view's item where it was bought.
        Hence what is to be predicted must be built from the events up to the search. Without a
        clock (dial `gap_tells` at 0) events are one minute apart and sessions begin on the hour.
        Raises ValueError for rows below 1 or a negative start.
        """
        from mtlkit.shop.session_events import session_events

        _whole("rows", rows, 1)
        _whole("start", start, 0)
        return session_events(self.session_log, rows, start)

    def products(self) -> Table:
        """One row a product: attributes and picture; see `mtlkit.shop.products`."""
        from mtlkit.shop.products import products_table

        return products_table(self)

    def products_frame(self) -> pl.DataFrame:
        """The products in words."""
        from mtlkit.shop.products import products_frame

        return products_frame(self)

    def demand(self, weeks: int) -> Table:
        """Weekly demand of each product, censored by stock-outs; see `mtlkit.shop.demand`."""
        from mtlkit.shop.demand import demand_table

        return demand_table(self, weeks)

    def demand_frame(self, weeks: int) -> pl.DataFrame:
        """Weekly demand in words."""
        from mtlkit.shop.demand import demand_frame

        return demand_frame(self, weeks)

    def deliveries(self, rows: int) -> Table:
        """Deliveries: days, late, damaged; see `mtlkit.shop.deliveries`."""
        from mtlkit.shop.deliveries import deliveries_table

        return deliveries_table(self, rows)

    def deliveries_frame(self, rows: int) -> pl.DataFrame:
        """Deliveries in words."""
        from mtlkit.shop.deliveries import deliveries_frame

        return deliveries_frame(self, rows)

    # --- what is best ------------------------------------------------------------------------

    def oracle(self, table: Table, knows: str = "everything") -> dict[str, dict[str, float]]:
        """Metrics of the true values on these very rows: {task: {metric: value}}.

        knows="everything": the true value of each row, its private luck included; nothing beats it.
        knows="features": the expectation given what a model may read (and, for purchase, that the
        row was clicked); the best any model could reach. Raises ValueError without truth.
        """
        return oracle_metrics(self, table, knows)

    def live(self, seed: int = 0, visitors_per_day: int = 1000) -> Live:
        """Simulated visitors from the day after the log on, with common random numbers."""
        return Live(self.behaviour, seed, visitors_per_day)


def _whole(name: str, value: int, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ValueError(f"{name}: expected a whole number of at least {low}, got {value!r}")
