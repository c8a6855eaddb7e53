"""`python -m dbp_tf.report`, see `result_page`."""

import sys

from dbp_tf.report import result_page

if __name__ == "__main__":
    sys.exit(result_page.run())
