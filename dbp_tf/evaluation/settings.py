"""The parameters of test_burst.py, from which its flags are made and which settings.json holds."""

import dataclasses
import pathlib

from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.models.fusions import REFERENCE_FRAMES
from dbp_tf.parameters import parameter
from dbp_tf.raw import cameras
from dbp_tf.restore.settings import NETWORK, OWN_REFERENCE, Restoration

# Frames of a burst without --n_burst, and the numbers of them that --figure frames plots.
FRAMES = 8
COUNTS = (1, 2, 4, 8)

# Where the LPIPS graph is looked for without --lpips_graph.
LPIPS_GRAPH = "~/.lpips/net-lin_alex_v0.1.pb"

_INPUT, _OUTPUT, _FIGURES = "Dataset", "Results", "Figures"


@dataclasses.dataclass(frozen=True)
class Settings(Restoration):
    """All that test_burst.py can be told. Raises InputError if values do not go together."""

    camera: cameras.Camera = parameter(cameras.SONY, "Camera of the raw files.", topic=_INPUT)
    short_dir: pathlib.Path | None = parameter(
        None,
        "Folder of the dark bursts, raw files IIIII_NN_Ts.ARW, .RAF or of another camera. Without "
        "it, the bundled sample is restored.",
        topic=_INPUT,
        exists="folder",
    )
    long_dir: pathlib.Path | None = parameter(
        None,
        "Folder of the long exposures: they give the exposure ratio and the ground truth.",
        topic=_INPUT,
        exists="folder",
    )
    split: str = parameter(
        "test",
        "Part of the dataset: scenes 0xxxx train, 1xxxx test, 2xxxx validation.",
        topic=_INPUT,
        choices=list(sid.SPLITS),
    )
    ratio: float | None = parameter(
        None,
        "Exposure ratio of bursts that have no long exposure to tell it; they are restored but not "
        "scored.",
        topic=_INPUT,
        low=1,
        high=sid.MAX_RATIO,
    )
    n_burst: list[str] | None = parameter(
        None,
        f"Frames of a burst to use at the most; {FRAMES} by default. With --figure frames several, "
        f"with commas between them; {','.join(map(str, COUNTS))} by default.",
        topic=_INPUT,
    )
    reference_frame: str | None = parameter(
        None,
        "Frame whose finest detail the revised version of the network keeps. " + OWN_REFERENCE,
        topic=NETWORK,
        choices=list(REFERENCE_FRAMES),
    )
    result_dir: pathlib.Path | None = parameter(
        None,
        "Folder for the pictures and figures, new or empty unless --resume. By default in results: "
        "<camera>_<split>_<mode> of a dataset, or sample_<camera>.",
        topic=_OUTPUT,
        may_change=True,
    )
    png16: bool = parameter(False, "Write pictures of 16 bit instead of 8.", topic=_OUTPUT)
    lpips_graph: pathlib.Path | None = parameter(
        None,
        f"Frozen LPIPS graph; by default {LPIPS_GRAPH} if it is there.",
        topic=_OUTPUT,
        exists="file",
    )
    figure: str | None = parameter(
        None,
        "Also draw a figure of each burst, beside its picture. panel: traditional, coarse, fine, "
        "burst and ground truth, with a detail of each; teaser: the dark input and details of what "
        "one frame and the burst are restored to; frames: one plot for all bursts, quality against "
        "the number of frames.",
        topic=_FIGURES,
        choices=["panel", "teaser", "frames"],
        may_change=True,
    )
    box: str | None = parameter(
        None,
        "Detail that --figure panel or teaser enlarges: row,column,rows,columns in pixels of the "
        "picture. By default the place with most detail.",
        topic=_FIGURES,
        may_change=True,
    )
    sid_checkpoint: pathlib.Path | None = parameter(
        None,
        "Folder of the SID baseline's weights, for its two pictures in --figure teaser.",
        topic=_FIGURES,
        may_change=True,
    )
    report: bool = parameter(
        False,
        "At the end, write report.html: figures, plots and pictures of --result_dir on one page.",
        topic=_OUTPUT,
        may_change=True,
    )
    resume: bool = parameter(
        False,
        "Go on in --result_dir: bursts that are in metrics.csv and have their picture are left "
        "out.",
        topic=_OUTPUT,
        may_change=True,
    )

    def __post_init__(self):
        if len(self.n_burst or []) > 1 and self.figure != "frames":
            raise InputError(
                "several numbers in --n_burst belong to --figure frames: give that too, or one "
                "number"
            )
        if self.box is not None and self.figure not in ("panel", "teaser"):
            raise InputError("--box belongs to --figure panel or teaser: give that too")
        if self.sid_checkpoint is not None and self.figure != "teaser":
            raise InputError("--sid_checkpoint belongs to --figure teaser: give that too")
        if self.figure is not None and self.mode != "burst":
            raise InputError("--figure shows what --mode burst restores: leave out the other mode")
        if not self.short_dir and (self.long_dir or self.ratio):
            raise InputError(
                "--long_dir and --ratio belong to the bursts of --short_dir: give that too"
            )
        if self.short_dir and not (self.long_dir or self.ratio):
            raise InputError(
                "--short_dir needs --long_dir beside it, or --ratio if there are no long exposures"
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of frames, rising: one, or several that --figure frames plots."""
        if self.n_burst is None:
            return COUNTS if self.figure == "frames" else (FRAMES,)
        try:
            counts = tuple(sorted({int(text) for text in self.n_burst}))
        except ValueError:
            counts = ()
        if not counts or counts[0] < 1:
            raise InputError(
                f"--n_burst={','.join(self.n_burst)} is no number of frames: give whole numbers "
                f"from 1"
            )
        return counts

    @property
    def folder(self) -> pathlib.Path:
        """--result_dir, by default a folder in results named after dataset, split and mode."""
        dataset = f"{self.camera.name}_{self.split}_{self.mode}"
        name = dataset if self.short_dir else f"sample_{self.camera.name}"
        return self.result_dir or pathlib.Path("results") / name
