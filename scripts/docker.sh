#!/usr/bin/env bash
# The Docker part of `make docker-run`, `make docker-stop` and `make deploy`:
#   scripts/docker.sh build IID    builds the image and writes its id to the file IID
#   scripts/docker.sh run IID      starts that image as a container and waits until the function answers
#   scripts/docker.sh stop         stops the container
# Environment: CONTAINER, the name of the container and of its image; PORT, where the function listens on this computer;
# MODEL, BASE_IMAGE, ARCH, RUNTIME and REQUIREMENTS (its pinned wheels), what the image is built from. Needs curl.
set -euo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fail() {
  echo "docker.sh: error: $*" >&2
  exit 1
}

# Say what to do about the error of the engine, in $log.
explain() {
  case $(<"$log") in
    *"permission denied while trying to connect"*) fail "run: sudo usermod -aG docker \$USER, then log in again" ;;
    *"Is the docker daemon running"* | *"failed to connect to the docker API"*)
      fail "no Docker engine answers; start Docker Desktop or: sudo systemctl start docker" ;;
    *"no space left on device"*) fail "the engine's disk is full; docker system prune frees some" ;;
    *"port is already allocated"* | *"address already in use"*) fail "port $PORT is taken; choose PORT=8081" ;;
    *"in use by container"*) fail "the container named $CONTAINER is not ours; choose CONTAINER=clothes" ;;
    *) fail "docker failed; its message is above" ;;
  esac
}

# Run docker. If it fails, show its error and explain it.
engine() {
  docker "$@" 2>"$log" || { cat "$log" >&2; explain; }
}

# Build from a folder that holds only what the image needs, so that nothing else is sent to the engine. The wheels for
# the image's Python, C library and processor are downloaded before, so that the build itself needs no network; their
# requirements.txt is copied last, so it stands for the whole folder.
build() {
  local wheels=data/wheels/$RUNTIME-$ARCH context=artifacts/image python=3.13 machine=${ARCH/arm64/aarch64}
  if [[ $RUNTIME == tflite-runtime ]]; then python=3.11; fi
  if ! cmp -s "$REQUIREMENTS" "$wheels/requirements.txt"; then
    rm -rf "$wheels"
    .venv/ai-edge-litert/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
      --only-binary :all: --python-version "$python" --platform "manylinux2014_$machine" \
      --platform "manylinux_2_27_$machine" --platform "manylinux_2_28_$machine" --dest "$wheels" -r "$REQUIREMENTS"
    cp "$REQUIREMENTS" "$wheels/requirements.txt"
  fi
  rm -rf "$context"
  mkdir -p "$context/code"
  cp lambda/*.py lambda/*.html lambda/openapi.json "$context/code"
  mv "$context/code/install.py" "$context"
  cp lambda/Dockerfile "$context"
  cp -R "$wheels" "$context/wheels"
  cp "$MODEL" "$context/model.tflite"
  # Lambda accepts plain images only, without provenance attestations.
  BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --network none --platform "linux/${ARCH/x86_64/amd64}" \
    --build-arg BASE_IMAGE="$BASE_IMAGE" --tag "$CONTAINER" \
    --build-arg VERSION="$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" \
    --build-arg COMMIT="$(git rev-parse HEAD 2>/dev/null || echo unknown)" "$context" 2>&1 | tee "$log" || explain
  rm -rf "$context"
  # Not by --iidfile: on a containerd image store it holds an id that the engine does not know.
  engine image inspect --format '{{.Id}}' "$CONTAINER" >"$1"
}

# Remove the container, if there is one of ours. The image's label tells it from other people's.
stop() {
  local ours
  ours=$(engine ps --all --quiet --filter "name=^$CONTAINER$" \
    --filter label=org.opencontainers.image.title=clothes-classifier)
  if [[ $ours ]]; then engine rm --force "$ours" >/dev/null; fi
}

# Run the image as Lambda would: read-only except for /tmp, not as root, one CPU and 1,769 MB.
run() {
  local answer url=http://127.0.0.1:$PORT/2015-03-31/functions/function/invocations
  stop
  engine run --detach --name "$CONTAINER" --publish "127.0.0.1:$PORT:8080" --read-only --tmpfs /tmp \
    --user 1000:1000 --cap-drop ALL --security-opt no-new-privileges --cpus 1 --memory 1769m \
    --env AWS_LAMBDA_FUNCTION_MEMORY_SIZE=1769 "$(<"$1")" >/dev/null
  answer=$(curl -fsS --noproxy '*' --retry 10 --retry-all-errors --retry-delay 1 --max-time 60 \
    --data '{"httpMethod": "GET", "path": "/health"}' "$url" 2>&1) || true
  if [[ $answer != *'"statusCode": 200'* ]]; then
    docker logs --tail 30 "$CONTAINER" >&2
    stop
    fail "the function does not answer; its log is above, and the last attempt ended with: $answer"
  fi
  echo "$CONTAINER answers with the model $MODEL at $url"
  echo "Ask it: make docker-test IMAGE=photo.jpg   Its log: docker logs $CONTAINER   Stop it: make docker-stop"
}

command -v docker >/dev/null || fail "there is no docker command; install Docker: https://docs.docker.com/get-docker/"
[[ ${1-} == @(build|run|stop) ]] || fail "usage: docker.sh build IID | run IID | stop"
"$@"
