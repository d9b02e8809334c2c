"""``python -m rlrnn`` does what ``rlrnn`` does."""

from rlrnn.cli import main

raise SystemExit(main())
