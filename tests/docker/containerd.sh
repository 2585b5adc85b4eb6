#!/usr/bin/env bash
# Makes an image with a second Docker engine and its client, which stores images in containerd, as new installations do:
#   tests/docker/containerd.sh TAG    tests/test_docker.py starts it
# They are Debian 13's, version 26.1 with buildx. Debian 12's version 20.10 has neither such a store nor buildx.
# Needs root and Debian's package mmdebstrap.
set -euo pipefail

tag=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mmdebstrap --quiet --variant=essential --include=docker.io,docker-cli,docker-buildx,iptables trixie "$root"
mkdir -p "$root/etc/docker"
cat >"$root/etc/docker/daemon.json" <<'EOF'
{"features": {"containerd-snapshotter": true}, "bridge": "none", "iptables": false}
EOF
tar -C "$root" -c . |
  docker import --change 'CMD ["dockerd"]' --change 'VOLUME /var/lib/docker /var/lib/containerd' - "$tag"
