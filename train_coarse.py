"""Trains the first stage: a network that denoises half-size raw frames, one by one.

    python train_coarse.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long

The defaults are the published recipe. The run is a folder, --checkpoint_dir: the weights for
train_fine.py, history.csv, sample pictures, the best weights on the validation split (best/) and
what the same command needs to go on after a stop (state/). Exit code 0: trained, or stopped and
saved; 2: bad flags or input, or a loss that is not finite, said in one sentence.
"""

import sys

from absl import flags

from dbp_tf import cli, config
from dbp_tf.training import program
from dbp_tf.training.config import Coarse

FLAGS = flags.FlagValues()
config.define_flags(FLAGS, Coarse)


def main() -> None:
    program.run(program.read_flags(FLAGS, Coarse), start_from="coarse")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
