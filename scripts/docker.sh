#!/usr/bin/env bash
# The Docker part of `make docker-run`, `make docker-stop` and `make deploy`:
#   scripts/docker.sh build IID    builds the image and writes its id to the file IID
#   scripts/docker.sh run IID      starts that image as a container and waits until the function answers
#   scripts/docker.sh stop         stops the container
# Environment: CONTAINER, the name of the container and of its image; PORT, where the function listens on this computer;
# MODEL, BASE_IMAGE, ARCH, RUNTIME and REQUIREMENTS (its pinned wheels), what the image is built from.
set -euo pipefail

TITLE=clothes-classifier # the label by which our containers are told from other people's
TITLE_OF='{{index .Config.Labels "org.opencontainers.image.title"}}'
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fail() {
  echo "docker.sh: error: $*" >&2
  exit 1
}

# Say what the error of the engine, in $log, means and what to do about it.
explain() {
  case $(<"$log") in
    *"permission denied"*"Docker daemon"* | *"permission denied"*"docker API"*)
      fail "no permission to use the Docker engine; run: sudo usermod -aG docker \$USER, then log in again" ;;
    *"Is the docker daemon running"* | *"failed to connect to the docker API"*)
      fail "no Docker engine answers${DOCKER_HOST:+ at $DOCKER_HOST};" \
        "start Docker Desktop or: sudo systemctl start docker" ;;
    *"no space left on device"*)
      fail "the engine's disk is full; \`docker system df\` shows what fills it, \`docker system prune\` frees some" ;;
    *"port is already allocated"* | *"address already in use"*)
      fail "port $PORT is taken; choose another: make docker-run PORT=8081" ;;
    *) fail "docker failed; its message is above" ;;
  esac
}

# Run docker. If it fails, show its error and explain it.
engine() {
  docker "$@" 2>"$log" || { cat "$log" >&2; explain; }
}

# Download the wheels for the image's Python, C library and processor, so that the build itself needs no network.
# requirements.txt is copied last, so it stands for the whole folder.
download_wheels() {
  local folder=$1 python=3.13 libraries=(manylinux2014 manylinux_2_27 manylinux_2_28) platforms
  if cmp -s "$REQUIREMENTS" "$folder/requirements.txt"; then return; fi
  if [[ $RUNTIME == tflite-runtime ]]; then python=3.11 libraries=(manylinux2014); fi
  platforms=("${libraries[@]/%/_${ARCH/arm64/aarch64}}")
  rm -rf "$folder"
  .venv/ai-edge-litert/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary :all: --python-version "$python" "${platforms[@]/#/--platform=}" --dest "$folder" -r "$REQUIREMENTS"
  cp "$REQUIREMENTS" "$folder/requirements.txt"
}

# Build from a folder that holds only what the image needs, so that nothing else is sent to the engine.
build() {
  local iid=$1 wheels=data/wheels/$RUNTIME-$ARCH context=artifacts/image id
  download_wheels "$wheels"
  rm -rf "$context"
  mkdir -p "$context/code"
  cp lambda/Dockerfile lambda/install.py "$context"
  cp lambda/*.py lambda/*.html lambda/openapi.json "$context/code"
  rm "$context/code/install.py"
  cp -R "$wheels" "$context/wheels"
  cp "$MODEL" "$context/model.tflite"
  # Lambda accepts plain images only, without provenance attestations.
  BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --network none --platform "linux/${ARCH/x86_64/amd64}" \
    --build-arg BASE_IMAGE="$BASE_IMAGE" --tag "$CONTAINER" \
    --build-arg VERSION="$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" \
    --build-arg COMMIT="$(git rev-parse HEAD 2>/dev/null || echo unknown)" "$context" 2>&1 | tee "$log" || explain
  # Not by --iidfile: on a containerd image store it holds an id that the engine does not know.
  id=$(engine image inspect --format '{{.Id}}' "$CONTAINER")
  echo "$id" >"$iid"
  rm -rf "$context"
}

# Remove the container if it is ours; end with an error if it is somebody else's.
remove() {
  local title
  engine version >/dev/null
  title=$(docker container inspect --format "$TITLE_OF" "$CONTAINER" 2>/dev/null) || return 0
  if [[ $title != "$TITLE" ]]; then
    fail "the container named $CONTAINER is not ours; choose another name: make docker-$command CONTAINER=clothes"
  fi
  docker rm --force "$CONTAINER" >/dev/null
  echo "stopped $CONTAINER"
}

# Run the image as Lambda would: read-only except for /tmp, not as root, one CPU and 1,769 MB.
run() {
  local image url=http://127.0.0.1:$PORT/2015-03-31/functions/function/invocations
  image=$(<"$1")
  remove
  trap 'remove >/dev/null; rm -f "$log"' EXIT # until it answers
  engine run --detach --name "$CONTAINER" --publish "127.0.0.1:$PORT:8080" --read-only --tmpfs /tmp \
    --user 1000:1000 --cap-drop ALL --security-opt no-new-privileges --cpus 1 --memory 1769m \
    --env AWS_LAMBDA_FUNCTION_MEMORY_SIZE=1769 "$image" >/dev/null
  wait_for_answer "$url"
  trap 'rm -f "$log"' EXIT
  echo "$CONTAINER answers with the model ${MODEL-}. Ask it, for example:"
  echo "  curl -d '{\"url\": \"https://…/photo.jpg\"}' $url"
  echo "  make docker-test IMAGE=photo.jpg"
  echo "Its log: docker logs $CONTAINER; to stop it: make docker-stop"
}

# Wait until the function answers. If its container ends or the answer is an error, show its log and fail.
wait_for_answer() {
  local status=0 answer
  for _ in {1..60}; do
    answer=$("${PYTHON:-python3}" scripts/test_lambda.py --url "$1" --timeout 60 2>&1) && return
    status=$?
    # Exit status 3: nothing listens there yet.
    if ((status != 3)) || [[ $(docker container inspect --format '{{.State.Running}}' "$CONTAINER") != true ]]; then
      break
    fi
    sleep 0.5
  done
  docker logs --tail 30 "$CONTAINER" >&2
  fail "the container does not answer; its log is above, and the last attempt ended with: $answer"
}

command -v docker >/dev/null || fail "there is no docker command; install Docker: https://docs.docker.com/get-docker/"
command=${1-}
case $command in
  build | run) "$@" ;;
  stop) remove ;;
  *) fail "usage: docker.sh build IID | run IID | stop" ;;
esac
