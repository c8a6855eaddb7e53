"""`python -m dbp_tf.calibrate`, see `command`."""

import sys

from dbp_tf import cli
from dbp_tf.calibrate import command

if __name__ == "__main__":
    sys.exit(cli.run(command.main, command.FLAGS))
