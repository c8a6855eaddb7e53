"""`python -m dbp_tf.simulate`, see `simulator`."""

import sys

from dbp_tf import cli
from dbp_tf.simulate import simulator

if __name__ == "__main__":
    sys.exit(cli.run(simulator.main, simulator.FLAGS, words=True))
