#!/usr/bin/env bash
# A private Docker engine for the tests, all of it below one folder.
#   tests/docker/engine.sh start FOLDER [flags of dockerd]   then: export DOCKER_HOST=unix://FOLDER/docker.sock
#   tests/docker/engine.sh stop FOLDER                       stops it and deletes the folder
# Needs root and Debian's package docker.io. Not beside another engine: they would share one bridge.
set -euo pipefail

start() {
  local folder=$1
  shift
  mkdir -p "$folder"
  dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    --host "unix://$folder/docker.sock" "$@" </dev/null >"$folder/log" 2>&1 &
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
  rm -rf "$folder"
}

case ${1-} in
  start | stop) "$@" ;;
  *) echo "usage: engine.sh start|stop FOLDER [flags of dockerd]" >&2; exit 2 ;;
esac
