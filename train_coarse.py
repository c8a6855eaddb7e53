"""Trains the first stage: a network that denoises half-size raw frames, one by one.

    python train_coarse.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long

The defaults are the published recipe. The run is a folder, --checkpoint_dir: the weights for
train_fine.py, history.csv, sample pictures, the best weights on the validation split (best/) and
what the same command needs to go on after a stop (state/). Exit code 0: trained, or stopped and
saved; 2: bad flags or input, or a loss that is not finite, said in one sentence.
"""

import sys

from absl import flags

from dbp_tf import cli
from dbp_tf.training import train_options

FLAGS = flags.FlagValues()
train_options.define(
    FLAGS, "coarse", epochs=4000, patch=256, learning_rate=1e-4, final_learning_rate=1e-5
)
train_options.define_network(FLAGS, "width", "initial_weights")
flags.DEFINE_string(
    "coarse",
    None,
    "Weights to start from, released or this project's own, of any stage; without, from scratch.",
    flag_values=FLAGS,
)


def main():
    job = train_options.open_job(FLAGS, "coarse")
    strategy = train_options.start_tensorflow(FLAGS)
    from dbp_tf.models.network_spec import NetworkSpec

    start = train_options.load_start(FLAGS.coarse, "coarse", job.camera, needs="coarse")
    width = train_options.same_or(FLAGS, "width", start and start.spec.width, 32)
    spec = NetworkSpec(family="coarse", channels=job.camera.channels, width=width, scale=1)
    train_options.train(FLAGS, job, strategy, spec, start, initial=FLAGS.initial_weights)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
