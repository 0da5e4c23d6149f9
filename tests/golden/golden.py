"""What must not move: hashes of the shop's tables, of initial weights, and ten training steps
of every rule and model (with plain Adam) and of two models by the defaults of ``fit``.

``python tests/golden/golden.py`` compares with values.json; ``--freeze`` writes it anew, which a
commit that means to change a number does, and says so.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

from mtlkit import Market, MMoE, SharedBottom, SingleTask, Table, fit
from mtlkit.balance import EVERY_BALANCER, DecaySchedule, FixedWeights, MetaBalance
from mtlkit.layers import FieldEmbedding
from mtlkit.layers.sequence import POOLINGS
from mtlkit.models import ADAPTING, ESCM2, ESM2, LINKS, SHARING, ArticleNetwork
from mtlkit.schema import Schema
from mtlkit.shop.session_decisions import SessionDecisions
from mtlkit.train import seeded

VALUES = Path(__file__).parent / "values.json"
CHUNKS = (7, 64, 5_000)
BALANCER_ARGUMENTS = {
    "fixed": lambda: FixedWeights({"click": 2.0}),
    "schedule": lambda: DecaySchedule({"click": (2.0, 0.9)}, every="step"),
    "metabalance": lambda: MetaBalance("purchase"),
}
LINK_ARGUMENTS = {ESM2: {"via": {"purchase": "cart"}}, ESCM2: {"method": "dr"}}


def digest(parts: dict[str, np.ndarray]) -> str:
    """One hash over arrays: names, types, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(parts):
        array = np.ascontiguousarray(parts[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        total.update(array.tobytes())
    return total.hexdigest()[:20]


def table_parts(table: Table) -> dict[str, np.ndarray]:
    """Every column of a table as arrays."""
    names = ("categorical", "dense", "labels", "observed", "censored", "scenario", "row_id")
    parts = {n: getattr(table, n) for n in names}
    for name, (values, offsets) in table.sequences.items():
        parts |= {f"sequence {name}": values, f"offsets {name}": offsets}
    parts |= {f"truth {n}": v for n, v in table.truth.items()}
    parts |= {f"key {n}": v for n, v in table.keys.items()}
    return {n: np.asarray(v) for n, v in parts.items() if v is not None}


def live_parts(market: Market) -> dict[str, np.ndarray]:
    """Visitors, candidates, best pages and what followed."""
    live = market.live(seed=3)
    visitors = live.visitors(30)
    pages = np.stack([live.candidates(visitor, 12) for visitor in visitors])
    best = [live.best_page(v, p, 8, goal="revenue") for v, p in zip(visitors, pages, strict=True)]
    outcomes = live.serve_many(visitors, np.stack(best))
    names = ("click", "cart", "purchase", "dwell", "expected_click", "expected_purchase")
    parts = {n: np.stack([getattr(o, n) for o in outcomes]) for n in names}
    parts["revenue"] = np.array([(o.revenue, o.expected_revenue) for o in outcomes])
    parts["pages"] = np.stack(best)
    features = table_parts(live.table(visitors, pages))
    return parts | {f"features {n}": v for n, v in features.items()}


def shops() -> dict[str, Market]:
    """The shops that are frozen, by name."""
    return {
        "tiny": Market("tiny"),
        "small, seed 1": Market("small", seed=1),
        "biased with a wish list": Market("biased", wish_rate=0.2),
        "aligned": Market("aligned"),
        "conflicting": Market("conflicting"),
        "biased": Market("biased"),
        "many scenarios, personal": Market("many_scenarios", exposure="personal"),
    }


def shop_values() -> dict[str, str]:
    """Hashes of every table of the shop."""
    values = {}
    for name, market in shops().items():
        for chunk in CHUNKS:
            rows = 500 if chunk == 7 else 6_000
            table = market.impressions(rows, start=100, chunk=chunk)
            values[f"{name}: {rows} impressions in chunks of {chunk}"] = digest(table_parts(table))
        values[f"{name}: live"] = digest(live_parts(market))
    for name, market in list(shops().items())[:2]:
        frame = market.impressions_frame(2_000, truth=True)
        values[f"{name}: impressions frame"] = hashlib.sha256(
            frame.write_csv().encode()
        ).hexdigest()[:20]
        values[f"{name}: sessions"] = digest(table_parts(market.sessions(3_000, start=50)))
        values[f"{name}: demand"] = digest(table_parts(market.demand(30)))
        values[f"{name}: deliveries"] = digest(table_parts(market.deliveries(3_000)))
    page = Market("page", seed=2)
    values["page: content impressions"] = digest(
        table_parts(page.content_impressions(3_000, start=50, chunk=700))
    )
    values["page: impressions"] = digest(table_parts(page.impressions(3_000, start=50)))
    values["page: live"] = digest(live_parts(page))
    values["page: bids"] = digest({"bid": page.ads()["bid"].to_numpy(), "margin": page.margins})
    values["tiny: products"] = digest(table_parts(Market("tiny").products()))
    return values | shopper_values()


def shopper_values() -> dict[str, str]:
    """Hashes of sessions with a clock and newcomers, their events, and what decisions are worth."""
    market = Market("shopper", seed=1)
    table = market.sessions(3_000, start=50)
    worth = SessionDecisions(market, table)
    pages = worth.best_pages(worth.search_score())
    euro = {
        "banner": worth.banner_value(), "coupon": worth.coupon_value(),
        "lead": worth.best("lead"), "search": worth.search_value(pages), "pages": pages,
    }  # fmt: skip
    events = market.session_events(500).with_columns(pl.col("words").list.join(" "))
    return {
        "shopper: sessions": digest(table_parts(table)),
        "shopper: events": hashlib.sha256(events.write_csv().encode()).hexdigest()[:20],
        "shopper: euro": digest({n: np.round(v, 4) for n, v in euro.items()}),
    }


def tiny_shop() -> Table:
    """Impressions that models and balancers are frozen on."""
    return Market("tiny").impressions(4_096)


def factories(schema: Schema) -> dict[str, partial]:
    """A factory of every architecture, at small sizes."""
    sizes = {"embedding_dim": 4, "hidden": (16, 8), "tower": (8,)}
    chosen = {}
    for kind in (*SHARING.values(), *ADAPTING.values()):
        if kind is not ArticleNetwork:  # reads pictures alone
            chosen[kind.__name__] = partial(kind, schema, **sizes)
    for kind in LINKS.values():
        network = partial(SharedBottom, **sizes)
        chosen[kind.__name__] = partial(kind, schema, network, **LINK_ARGUMENTS.get(kind, {}))
    return chosen


def weights_hash(model: torch.nn.Module) -> str:
    """Initial weights in their order, by value alone: attributes may be renamed."""
    parts = {f"{i:03}": p.detach().numpy() for i, p in enumerate(model.parameters())}
    return digest(parts)


def model_values() -> dict[str, str]:
    """Hashes of every model's initial weights."""
    values = {}
    for name, factory in factories(tiny_shop().schema).items():
        with seeded(5):
            values[f"{name}: initial weights"] = weights_hash(factory())
    return values


def training_values() -> dict[str, list[float]]:
    """Task losses of a balancer's ten steps, then ten steps of each model, seen from outside."""
    table = tiny_shop()
    values = {}
    click = table.select_tasks(["click", "cart", "purchase", "dwell"])
    for name, balancer in EVERY_BALANCER.items():
        with seeded(5):
            model = MMoE(click.schema, embedding_dim=4, hidden=(16, 8), tower=(8,), experts=2)
        rule = BALANCER_ARGUMENTS.get(name, balancer)()
        values[f"{name}: ten steps"] = ten_steps(model, click, rule)
    for name, factory in factories(table.schema).items():
        with seeded(5):
            model = factory()
        values[f"{name}: ten steps"] = ten_steps(model, table, None)
    sessions = Market("shopper").sessions(4_096)
    for name in POOLINGS:
        inputs = partial(FieldEmbedding, pooling={"history": name})
        with seeded(5):
            model = SharedBottom(
                sessions.schema, embedding_dim=4, hidden=(16, 8), tower=(8,), inputs=inputs
            )
        values[f"pooling {name}: ten steps"] = ten_steps(model, sessions, None)
    return values


PLAIN = {  # Adam and nothing else, so that the numbers are those of rule and model alone
    "epochs": 10, "batch_size": 512, "learning_rate": 1e-3, "schedule": "constant",
    "row_prior": None,
}  # fmt: skip


def practised_values() -> dict[str, list[float]]:
    """Ten steps as models are trained by default: sizes, rate and its fall, batches, row prior."""
    table = tiny_shop()
    values = {}
    for kind in (SharedBottom, SingleTask):
        with seeded(5):
            model = kind(table.schema)
        values[f"{kind.__name__}: ten steps as practised"] = ten_steps(model, table, None, {})
    return values


def ten_steps(
    model: torch.nn.Module, table: Table, balancer: object, options: dict | None = None
) -> list[float]:
    """Every task's mean loss in the last epoch of ten steps, and the norm of the weights after."""
    chosen = PLAIN if options is None else options
    history = fit(
        model, table, max_steps=10, balancer=balancer, seed=1, precision="fp32", device="cpu",
        progress=False, **chosen,
    )  # fmt: skip
    norm = float(sum(p.detach().double().square().sum() for p in model.parameters()))
    return [float(f"{v:.9g}") for v in [*history.rows[-1]["train"].values(), norm]]


def schema_values() -> dict[str, str]:
    """The schema of the shop as text, so that a renamed field is seen by name."""
    text = json.dumps(tiny_shop().schema.to_dict(), sort_keys=True)
    return {"tiny: schema": hashlib.sha256(text.encode()).hexdigest()[:20]}


def all_values() -> dict[str, dict]:
    """Everything that is frozen."""
    torch.set_num_threads(1)
    return {
        "shop": shop_values() | schema_values(),
        "weights": model_values(),
        "training": training_values(),
        "training as practised": practised_values(),
    }


def differences(found: dict, stored: dict, tolerance: float) -> list[str]:
    """Names whose values differ; numbers by relative ``tolerance``."""
    wrong = []
    for part in sorted({*found, *stored}):
        new, old = found.get(part, {}), stored.get(part, {})
        for name in sorted({*new, *old}):
            a, b = new.get(name), old.get(name)
            if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
                same = np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
            else:
                same = a == b
            if not same:
                wrong.append(f"{part}: {name}: {b} -> {a}")
    return wrong


if __name__ == "__main__":
    values = all_values()
    if "--freeze" in sys.argv:
        VALUES.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8", newline="\n")
    else:
        wrong = differences(values, json.loads(VALUES.read_text(encoding="utf-8")), 0.0)
        print("\n".join(wrong) or "Nothing moved.")
        sys.exit(bool(wrong))
