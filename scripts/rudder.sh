#!/bin/sh
# The installed command: its own Node runtime, wherever the tree was unpacked.
home=$(dirname "$(dirname "$(readlink -f "$0")")")
exec "$home/bin/node" "$home/dist/cli/main.js" "$@"
