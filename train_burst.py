"""Trains the third stage: the fine network learns to see 1 to 8 frames; the coarse one is frozen.

    python train_burst.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long
        --fine checkpoints/sony_fine

The defaults are the published recipe. The run is a folder, --checkpoint_dir, as that of
train_coarse.py; its weights are for test_burst.py. Exit code 0: trained, or stopped and saved;
2: bad flags or input, or a loss that is not finite, said in one sentence.
"""

import sys

from absl import flags

from dbp_tf import cli, config
from dbp_tf.training import program
from dbp_tf.training.config import Burst

FLAGS = flags.FlagValues()
config.define_flags(FLAGS, Burst)


def main() -> None:
    program.run(program.read_flags(FLAGS, Burst), start_from="fine")


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
