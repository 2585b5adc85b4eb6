#!/usr/bin/env bash
# A private Docker engine for the tests. It keeps all its files in one folder, has its own bridge and adds no firewall
# rules, so it can run beside other engines. Ports that its containers publish are reachable on loopback; the containers
# themselves reach nothing.
#   tests/docker/engine.sh start FOLDER [flags of dockerd]   then: export DOCKER_HOST=unix://FOLDER/docker.sock
#   tests/docker/engine.sh stop FOLDER                       stops it and deletes the folder
# Needs root and Debian's packages docker.io and iproute2.
set -euo pipefail

start() {
  local folder=$1 bridge=test-$$
  shift
  mkdir -p "$folder"
  ip link add "$bridge" type bridge
  echo "$bridge" >"$folder/bridge"
  ip address add "172.$((20 + $$ % 10)).$(($$ / 10 % 250)).1/24" dev "$bridge"
  ip link set "$bridge" up
  dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    --host "unix://$folder/docker.sock" --bridge "$bridge" --iptables=false --ip-masq=false --ip-forward=false \
    "$@" </dev/null >"$folder/log" 2>&1 &
  for _ in $(seq 60); do
    if docker --host "unix://$folder/docker.sock" version >/dev/null 2>&1; then return; fi
    if ! kill -0 $! 2>/dev/null; then break; fi
    sleep 0.5
  done
  echo "engine.sh: error: the engine did not start; the end of its log:" >&2
  tail -n 20 "$folder/log" >&2
  return 1
}

stop() {
  local folder=$1 pid
  if pid=$(cat "$folder/pid" 2>/dev/null); then
    kill "$pid"
    for _ in $(seq 120); do
      if ! kill -0 "$pid" 2>/dev/null; then break; fi
      sleep 0.5
    done
  fi
  if [[ -s $folder/bridge ]]; then ip link delete "$(<"$folder/bridge")" 2>/dev/null || true; fi
  rm -rf "$folder"
}

case ${1-} in
  start | stop) "$@" ;;
  *) echo "usage: engine.sh start|stop FOLDER [flags of dockerd]" >&2; exit 2 ;;
esac
