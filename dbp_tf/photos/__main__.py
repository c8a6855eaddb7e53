"""`python -m dbp_tf.photos`, see `command`."""

from dbp_tf import cli
from dbp_tf.photos import command

if __name__ == "__main__":
    cli.leave(cli.run(command.main, command.FLAGS, words=True))
