"""Trains the third stage: the fine network learns to see 1 to 8 frames; the coarse one is frozen.

    python train_burst.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long
        --fine checkpoints/sony_fine

The defaults are the published recipe. The run is a folder, --checkpoint_dir, as that of
train_coarse.py; its weights are for test_burst.py. Exit code 0: trained, or stopped and saved;
2: bad flags or input, or a loss that is not finite, said in one sentence.
"""

import sys

from absl import flags

from dbp_tf import cli
from dbp_tf.training import train_options

FLAGS = flags.FlagValues()
# The published burst stage ran at the low rate throughout: the script that survives goes on at
# an epoch past half of all.
train_options.define(
    FLAGS, "burst", epochs=1000, patch=512, learning_rate=1e-5, final_learning_rate=1e-5
)
train_options.define_network(FLAGS, "width", "residual_blocks", "reference_frame")
train_options.define_loss(FLAGS)
flags.DEFINE_string(
    "fine", None, "Weights to start from: of train_fine.py or released.", flag_values=FLAGS
)
flags.mark_flag_as_required("fine", FLAGS)


def main():
    job = train_options.open_job(FLAGS, "burst")
    strategy = train_options.start_tensorflow(FLAGS)
    start = train_options.load_start(FLAGS.fine, "fine", job.camera, needs="fine")
    train_options.same_or(FLAGS, "width", start.spec.width, None)
    train_options.same_or(FLAGS, "residual_blocks", start.spec.residual_blocks, None)
    train_options.check_fusion(FLAGS, start.spec.fusion)
    train_options.train(
        FLAGS, job, strategy, start.spec, start, reference_frame=FLAGS.reference_frame
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
