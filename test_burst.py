"""Restores dark bursts and scores them: the published evaluation.

    python test_burst.py
    python test_burst.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long
        --checkpoint checkpoints/Sony/burst_l1_res_se_motion_cx --result_dir results/sony

The first line restores the bundled sample, the second one the test split of a dataset. Every burst
gives a picture IIIII_00_RRR_out.png (scene, exposure ratio), its ground truth IIIII_00_RRR_gt.png
and a row in metrics.csv; at the end come the table of averages and results.npy. A run that was
stopped goes on with --resume. Exit code 0: all is done; 1: with --keep_going, something was left
out; 2: bad flags or input, said in one sentence. Your own photographs have a command of their own:
python -m dbp_tf.photos.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from absl import flags

from dbp_tf import cli, config, progress
from dbp_tf.data import checks, sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation import figures, protocol, results, sheets
from dbp_tf.evaluation.settings import Settings
from dbp_tf.raw import cameras
from dbp_tf.restore import checkpoints

if TYPE_CHECKING:  # TensorFlow takes seconds to import.
    from dbp_tf.restore.enhancer import Enhancer


class Moved(flags.ArgumentParser):
    """The parser of a flag that was removed; the error of any value says what to use instead."""

    def parse(self, argument: str) -> NoReturn:
        raise ValueError(
            "your own photographs have a command of their own: python -m dbp_tf.photos IMG_1.dng "
            "IMG_2.dng, or a folder"
        )


FLAGS = flags.FlagValues()
config.define_flags(FLAGS, Settings)
cli.define(
    FLAGS,
    flags.DEFINE,
    "burst",
    None,
    "Gone: python -m dbp_tf.photos FILE_OR_FOLDER... restores your own photographs.",
    topic="Moved",
    parser=Moved(),
)


def find_bursts(settings: Settings, camera: cameras.Camera, problems: list[str]) -> list[sid.Burst]:
    """The bursts of the dataset, or the sample, with their files checked.

    With `keep_going`, wrong names are added to `problems`, and broken files are found later.
    """
    n_burst = max(settings.counts)
    problems = problems if settings.keep_going else None
    if not settings.short_dir:
        bursts = protocol.sample_bursts(settings.folder / results.SAMPLE, camera, n_burst)
    else:
        bursts = sid.find_bursts(
            settings.short_dir,
            settings.long_dir,
            camera,
            settings.split,
            n_burst,
            settings.ratio,
            limit=settings.limit,
            problems=problems,
        )
    if not settings.keep_going:
        checks.check_files(bursts, camera)
    if settings.figure == "frames":
        figures.check_frames(bursts)
    return bursts


def load_model(settings: Settings, camera: cameras.Camera) -> "tuple[Enhancer, pathlib.Path]":
    """The model, and the folder of its weights."""
    model, checkpoint = checkpoints.load(
        settings.checkpoint, camera, settings.mode, settings.precision
    )
    if FLAGS["reference_frame"].present and not model.spec.refers:
        raise InputError(
            f"--reference_frame means nothing to the weights in {checkpoint}: to the first version "
            f"of the network all frames are alike, and the SID baseline sees one; leave it out"
        )
    return model, pathlib.Path(checkpoint)


def load_lpips(path: pathlib.Path | None) -> tuple[Callable | None, pathlib.Path | None]:
    """(function of two pictures, its graph file); (None, None) if there is no graph."""
    from dbp_tf.evaluation import lpips

    graph = lpips.find_graph(path)
    if graph is None:
        progress.say(lpips.HOW_TO_GET)
    return (lpips.load_lpips(graph), graph) if graph else (None, None)


def make_figure(
    settings: Settings, camera: cameras.Camera, box: sheets.Box | None, lpips: Callable | None
) -> figures.Panel | figures.Teaser | figures.Frames | None:
    """The figure of --figure, None without it."""
    if settings.figure == "panel":
        return figures.Panel(box)
    if settings.figure == "teaser":
        baseline = None
        if settings.sid_checkpoint:
            from dbp_tf.restore import pretrained

            baseline = pretrained.load_pretrained(settings.sid_checkpoint, settings.precision)
            figures.check_baseline(baseline, camera)
        return figures.Teaser(box, baseline)
    return figures.Frames(settings.counts, lpips) if settings.figure == "frames" else None


def main() -> int:
    settings = config.from_flags(FLAGS, Settings)
    camera, folder = settings.camera, settings.folder
    if FLAGS["split"].present and not settings.short_dir:
        raise InputError("--split belongs to the bursts of --short_dir: give that too")
    box = None if settings.box is None else sheets.parse_box(settings.box)
    problems: list[str] = []
    n_burst = max(settings.counts)
    results.check_folder(folder, settings.resume)
    bursts = find_bursts(settings, camera, problems)
    pictures = results.pictures_of(folder, bursts)

    model, checkpoint = load_model(settings, camera)
    lpips, graph = load_lpips(settings.lpips_graph)
    figure = make_figure(settings, camera, box, lpips)
    used = dataclasses.replace(
        settings,
        reference_frame=settings.reference_frame or model.reference_frame_for(camera),
        result_dir=folder,
        checkpoint=checkpoint,
        lpips_graph=graph,
    )
    done = results.begin(
        folder,
        protocol.settings_of(config.as_json(used) | {"n_burst": n_burst}, model),
        pictures,
        settings.resume,
        figure.unfinished(folder, bursts) if figure else (),
    )
    rows, failures = protocol.evaluate(
        model,
        bursts,
        camera,
        folder,
        done,
        keep_going=settings.keep_going,
        work=protocol.Work(
            mode=settings.mode,
            reference_frame=used.reference_frame,
            lpips=lpips,
            bits=16 if settings.png16 else 8,
            figure=figure,
            compute=settings.compute,
        ),
    )
    progress.say("\n" + results.table(rows))
    progress.say(results.where_to_look(folder, bursts))
    if figure:
        progress.say(figure.finish(folder))
    if settings.report and rows:
        from dbp_tf.report import result_page

        progress.say(f"The report is {result_page.write(folder, bursts, camera)}")
    return cli.report_failures(failures, len(bursts), problems)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
