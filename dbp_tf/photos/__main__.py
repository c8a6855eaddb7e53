"""`python -m dbp_tf.photos`, see `command`."""

import sys

from dbp_tf import cli
from dbp_tf.photos import command

if __name__ == "__main__":
    sys.exit(cli.run(command.main, command.FLAGS, words=True))
