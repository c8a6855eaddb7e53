"""Trains the second stage: from one frame to a picture, coarse and fine network together.

    python train_fine.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long
        --coarse checkpoints/sony_coarse

The defaults are the published recipe. The run is a folder, --checkpoint_dir, as that of
train_coarse.py; its weights are for train_burst.py and test_burst.py. Exit code 0: trained, or
stopped and saved; 2: bad flags or input, or a loss that is not finite, said in one sentence.
"""

import sys

from absl import flags

from dbp_tf import cli, config
from dbp_tf.errors import InputError
from dbp_tf.training import program
from dbp_tf.training.config import Fine

FLAGS = flags.FlagValues()
config.define_flags(FLAGS, Fine)


def main() -> None:
    settings = program.read_flags(FLAGS, Fine)
    if bool(settings.coarse) == bool(settings.fine):
        raise InputError(
            "train_fine.py starts from the weights of train_coarse.py: give --coarse, or --fine to "
            "go on with a fine network"
        )
    dataset = program.open_dataset(settings)
    strategy = program.start_tensorflow(settings)
    from dbp_tf.models.network_spec import NetworkSpec
    from dbp_tf.restore.enhancer import Enhancer

    camera = dataset.camera
    if settings.fine:
        start = program.load_start(settings, "fine", camera)
        fine_spec = start.spec
    else:
        start = program.load_start(settings, "coarse", camera)
        start = Enhancer(start.spec, {"coarse": start.coarse}, white_balance=start.white_balance)
        fine_spec = None
    settings = program.follow(settings, start.spec, width=32)
    settings = program.follow(settings, fine_spec, fusion="reference", noise_map=True)
    program.check_fusion(settings, settings.fusion)
    blocks = 16 if settings.fusion == "reference" else 0
    settings = program.follow(settings, fine_spec, residual_blocks=blocks)
    spec = fine_spec or NetworkSpec(
        channels=camera.channels,
        scale=camera.scale,
        width=settings.width,
        fusion=settings.fusion,
        noise_map=settings.noise_map,
        residual_blocks=settings.residual_blocks,
    )
    program.train(settings, dataset, strategy, spec, start)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
