#!/usr/bin/env bash
# The engine behind `make docker-run` and `make docker-stop`, with its errors put in words:
#   scripts/docker.sh build [arguments of docker build]
#   scripts/docker.sh run IMAGE NAME PORT     runs the image as container NAME, waits until it answers on PORT
#   scripts/docker.sh stop NAME
# The container is held as Lambda holds it: read-only but for /tmp, not root, one CPU and 1,769 MB.
set -euo pipefail

TITLE=clothes-classifier # the image's title, by which our containers are told from other people's
TITLE_OF='{{index .Config.Labels "org.opencontainers.image.title"}}'
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fail() {
  echo "docker.sh: error: $*" >&2
  exit 1
}

# End with what the engine's error, in $log, means and what to do about it.
explain() {
  case $(<"$log") in
    *"permission denied"*"Docker daemon"* | *"permission denied"*"docker API"*)
      fail "no permission to use the Docker engine; run: sudo usermod -aG docker \$USER, then log in again" ;;
    *"Is the docker daemon running"* | *"failed to connect to the docker API"*)
      fail "no Docker engine answers${DOCKER_HOST:+ at $DOCKER_HOST}; start Docker Desktop or: sudo systemctl start docker" ;;
    *"no space left on device"*)
      fail "the engine's disk is full; \`docker system df\` shows with what, \`docker system prune\` frees some" ;;
    *"port is already allocated"* | *"address already in use"*)
      fail "port $port is taken; choose another: make docker-run PORT=8081" ;;
    *) fail "Docker could not do it, see above" ;;
  esac
}

# Run docker; if it fails, show what it said and explain it.
engine() {
  docker "$@" 2>"$log" || { cat "$log" >&2; explain; }
}

build() {
  # Lambda takes plain images only, so no provenance beside it.
  BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build "$@" 2>&1 | tee "$log" || explain
}

# Remove the container $name if it is ours; somebody else's is an error.
remove() {
  local title
  engine version >/dev/null
  title=$(docker container inspect --format "$TITLE_OF" "$name" 2>/dev/null) || return 0
  if [[ $title != "$TITLE" ]]; then
    fail "the container named $name is not ours; choose another name: make $1 CONTAINER=clothes"
  fi
  docker stop "$name" >/dev/null
  docker rm "$name" >/dev/null
  echo "stopped $name"
}

run() {
  local image=$1 name=$2 port=$3 answer
  local url=http://127.0.0.1:$port/2015-03-31/functions/function/invocations
  remove docker-run
  if ! docker run --detach --name "$name" --publish "127.0.0.1:$port:8080" --read-only --tmpfs /tmp --user 1000:1000 \
    --cap-drop ALL --security-opt no-new-privileges --cpus 1 --memory 1769m \
    --env AWS_LAMBDA_FUNCTION_MEMORY_SIZE=1769 "$image" >/dev/null 2>"$log"; then
    cat "$log" >&2
    docker rm "$name" >/dev/null 2>&1 || true
    explain
  fi
  for _ in {1..60}; do
    if answer=$("${PYTHON:-python3}" scripts/test_lambda.py --url "$url" --timeout 60 2>&1); then
      echo "$name answers. Ask it, for example:"
      echo "  curl -d '{\"url\": \"https://…/photo.jpg\"}' $url"
      echo "  python3 scripts/test_lambda.py --url $url photo.jpg"
      echo "Its log: docker logs $name; to stop it: make docker-stop"
      return
    fi
    # Nothing listens yet, or an answer that says what is wrong, or the end of the container.
    if [[ $answer != *"can't be reached"* || $(docker container inspect --format '{{.State.Running}}' "$name") != true ]]
    then break; fi
    sleep 0.5
  done
  docker logs --tail 30 "$name" >&2
  docker rm --force "$name" >/dev/null
  fail "the container does not answer, its log is above; the last try said: $answer"
}

stop() {
  local name=$1
  remove docker-stop
}

command -v docker >/dev/null || fail "there is no docker command; install Docker: https://docs.docker.com/get-docker/"
case ${1-} in
  build | run | stop) "$@" ;;
  *) fail "usage: docker.sh build|run|stop …" ;;
esac
