"""`python -m dbp_tf.simulate`, see `command`."""

import sys

from dbp_tf import cli
from dbp_tf.simulate import command

if __name__ == "__main__":
    sys.exit(cli.run(command.main, command.FLAGS, words=True))
