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
            "go on with a fine network, not both"
        )
    program.run(settings, start_from="fine" if settings.fine else "coarse")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
