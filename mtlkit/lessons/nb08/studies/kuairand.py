"""KuaiRand-Pure: the tabs of a video app as scenarios. Which scenario model is best, and where?

Rows are 104,498 impressions of two weeks; tasks are a click and a long view. Nine days train, two
validate, three test. A content feed, not a shop: its tabs differ in how videos are shown, so a
click in one is not a click in another.
"""

from functools import lru_cache

import polars as pl

from mtlkit import Split, Task
from mtlkit.data import Encoder
from mtlkit.data.real.public import locate
from mtlkit.lessons.nb08.studies import _contest

USES = (
    "OneForAll", "OneEach", "ScenarioFeature", "ScenarioTowers", "STAR", "PEPNet", "MLoRA",
    "SARNet", "EmbeddingShift",
)  # fmt: skip
SIZES = {
    "share": (0.2, 0.6),  # of all users, in a seed
    "epochs": (1, 4),
    "batch_size": (512, 1_024),
    "search_seeds": (1, 1),
    "seeds": (2, 5),
    "rounds": (10, 200),
}

PRACTICES = {
    f"rate {rate:g}, prior {prior:g}": {"learning_rate": rate, "row_prior": prior}
    for rate in (0.002, 0.006, 0.018) for prior in (0.04, 0.1)
}  # fmt: skip
TASKS = ("is_click", "long_view")
VALIDATION, TEST = 20220504, 20220506
USER = (
    "user_active_degree", "is_live_streamer", "is_video_author", "follow_user_num_range",
    "fans_user_num_range", "friend_user_num_range", "register_days_range",
)  # fmt: skip
VIDEO = ("video_type", "upload_type", "music_type", "tag")
PRIOR = ("user_id", "video_id")  # whose embeddings PEPNet's gates read


def read(file):
    """One file of the set, compressed."""
    return pl.read_csv(locate("kuairand_pure", file), infer_schema_length=None)


@lru_cache(maxsize=1)
def whole():
    """The split of all users; nothing of what came of an impression is an input."""
    log = read("log_standard_4_25_to_5_08_sample.csv.gz").sort("time_ms").with_row_index("row")
    users = read("user_features_pure.csv.gz").select("user_id", *USER)
    videos = read("video_features_basic_pure.csv.gz").select("video_id", *VIDEO)
    videos = videos.with_columns(pl.col("music_type").cast(pl.Int64))
    frame = log.join(users, on="user_id", how="left", maintain_order="left")
    frame = frame.join(videos, on="video_id", how="left", maintain_order="left")
    frame = frame.with_columns(
        user=pl.col("user_id"), hour=pl.col("hourmin") // 100, tab=pl.format("tab {}", "tab")
    )
    train = frame.filter(pl.col("date") < VALIDATION)
    encoder = Encoder(
        tasks=[Task(name) for name in TASKS],
        categorical=("user_id", "video_id", "hour", *USER, *VIDEO),
        dense=("duration_ms",),
        log1p=("duration_ms",),
        scenario="tab",
        keys=("user",),
    ).fit(train)
    later = frame.filter(pl.col("date") >= VALIDATION)
    periods = (train, later.filter(pl.col("date") < TEST), later.filter(pl.col("date") >= TEST))
    return Split(*(encoder.transform(part, row_id=part["row"]) for part in periods))


def study(size, store):
    """{"runs", "scores", "trials", "cost", "scenarios"}."""
    gates = {"PEPNet": {"prior": PRIOR}}
    return _contest.contest(whole, "user", PRACTICES, size, store, gates, "user")
