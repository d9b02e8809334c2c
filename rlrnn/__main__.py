"""``python -m rlrnn`` does what ``rlrnn`` does."""

from rlrnn.shell.cli import main

raise SystemExit(main())
