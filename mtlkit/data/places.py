"""Where the presets of the shop and the small tables that come with mtlkit lie.

In a checkout they are the top-level folder ``datasets/``; a wheel holds the same files as
``mtlkit/datasets/`` (setup.py maps one to the other).
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parent


def datasets_folder() -> Path:
    """Return the folder with the presets and tables: of the installed package, else the checkout.

    Raises ``FileNotFoundError`` if neither is there.
    """
    # Beside this very file, and not by the name mtlkit.datasets: an editable install of another
    # checkout may answer to that name. The checkout's folder is known by its presets, because in
    # site-packages a folder `datasets` is somebody else's package.
    looked = [PACKAGE / "datasets", CHECKOUT / "datasets"]
    for folder in looked:
        if (folder / "markets").is_dir():
            return folder
    raise FileNotFoundError(
        "The presets and tables of mtlkit are missing: there is no folder markets in "
        f"{looked[0]} nor in {looked[1]}. Install mtlkit again, or restore the folder datasets/ "
        "of the checkout."
    )
