#!/bin/sh
PYTHONPATH=/usr/lib/wavecomb exec python3 -P -m wavecomb "$@"
