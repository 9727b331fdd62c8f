"""`python -m effyolo_ultra.cli`, for where no scripts are installed."""

import sys

from effyolo_ultra.cli import main

if __name__ == "__main__":
    sys.exit(main())
