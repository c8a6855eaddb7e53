"""Trains the second stage: from one frame to a picture, coarse and fine network together.

    python train_fine.py --short_dir dataset/Sony/short --long_dir dataset/Sony/long
        --coarse checkpoints/sony_coarse

The defaults are the published recipe. The run is a folder, --checkpoint_dir, as that of
train_coarse.py; its weights are for train_burst.py and test_burst.py. Exit code 0: trained, or
stopped and saved; 2: bad flags or input, or a loss that is not finite, said in one sentence.
"""

import sys

from absl import flags

from dbp_tf import cli
from dbp_tf.errors import InputError
from dbp_tf.training import train_options

FLAGS = flags.FlagValues()
train_options.define(
    FLAGS, "fine", epochs=4000, patch=512, learning_rate=1e-4, final_learning_rate=1e-5
)
train_options.define_network(
    FLAGS, "width", "fusion", "residual_blocks", "noise_map", "initial_weights"
)
train_options.define_loss(FLAGS)
flags.DEFINE_string(
    "coarse",
    None,
    "Weights whose coarse network is taken over, of train_coarse.py or released; the fine network "
    "starts from nothing.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "fine",
    None,
    "Instead of --coarse: weights of which both networks are taken over, to train on.",
    flag_values=FLAGS,
)


def main():
    if bool(FLAGS.coarse) == bool(FLAGS.fine):
        raise InputError(
            "train_fine.py starts from the weights of train_coarse.py: give --coarse, or --fine to "
            "go on with a fine network"
        )
    job = train_options.open_job(FLAGS, "fine")
    strategy = train_options.start_tensorflow(FLAGS)
    from dbp_tf.models.network_spec import NetworkSpec
    from dbp_tf.restore.pretrained import Enhancer

    if FLAGS.fine:
        start = train_options.load_start(FLAGS.fine, "fine", job.camera, needs="fine")
        spec = start.spec
    else:
        start = train_options.load_start(FLAGS.coarse, "coarse", job.camera, needs="coarse")
        start = Enhancer(start.spec, {"coarse": start.coarse})
        spec = None
    network = {
        "width": train_options.same_or(FLAGS, "width", start.spec.width, 32),
        "fusion": train_options.same_or(FLAGS, "fusion", spec and spec.fusion, "reference"),
        "residual_blocks": train_options.same_or(
            FLAGS, "residual_blocks", spec and spec.residual_blocks, 16
        ),
        "noise_map": train_options.same_or(FLAGS, "noise_map", spec and spec.noise_map, True),
    }
    train_options.check_fusion(FLAGS, network["fusion"])
    if network["fusion"] == "max":
        # The first version has no bottleneck; released weights of it are described so, too.
        network |= {"residual_blocks": 0, "squeeze_excite": False}
    spec = spec or NetworkSpec(channels=job.camera.channels, scale=job.camera.scale, **network)
    train_options.train(FLAGS, job, strategy, spec, start, initial=FLAGS.initial_weights)


if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS))
