#!/usr/bin/env bash
# Makes a stand-in for AWS's Python base image, for where AWS's registry can't be reached:
#   tests/docker/base.sh SUITE TAG [ARCH]    Debian's SUITE decides the Python: trixie 3.13, bookworm 3.11
# ARCH is x86_64 or aarch64, unset this computer's; another one needs qemu-user-static, registered with binfmt_misc.
# It keeps to the contract of AWS's image: AWS's own runtime client in /var/runtime, AWS's own emulator, the entry point
# with the handler's name as its one argument, the variables, /var/task as working folder, python and pip on the PATH.
# It differs in all else: Debian instead of Amazon Linux, so another C library, and no boto3.
# Needs root, Python's pip, and Debian's package mmdebstrap.
set -euo pipefail

main() {
  local suite=$1 tag=$2 arch=${3:-$(uname -m)} debian here temporary root python variant
  local packages=python3-pip,ca-certificates,libstdc++6
  debian=${arch/x86_64/amd64} debian=${debian/aarch64/arm64}
  here=$(cd "$(dirname "$0")" && pwd)
  temporary=$(mktemp -d)
  # shellcheck disable=SC2064  # expanded now, as the variable is local
  trap "rm -rf --one-file-system '$temporary'" EXIT  # it may hold mounts of /proc if this is interrupted
  root=$temporary/root

  # For another processor, packages are unpacked only: their set-up scripts would take many minutes under emulation.
  if [[ $arch == "$(uname -m)" ]]; then variant=essential; else variant=extract packages+=,base-files,coreutils,dash; fi
  mmdebstrap --quiet --variant="$variant" --architectures="$debian" --include="$packages" "$suite" "$root"
  if [[ $variant == extract ]]; then  # what pip misses without the set-up
    cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
  fi
  mkdir -p "$root"/var/{lang/bin,runtime,task} "$root/opt" "$root/usr/local/bin"
  python=$(basename "$(realpath "$root/usr/bin/python3")")
  ln -s "/usr/bin/$python" "$root/var/lang/bin/$python"
  ln -s "$python" "$root/var/lang/bin/python3"
  ln -s "$python" "$root/var/lang/bin/python"

  python3 -m pip install --quiet --disable-pip-version-check --target "$temporary/wheels" --no-deps \
    --only-binary :all: --implementation cp --python-version "${python#python}" \
    --platform "manylinux2014_$arch" --platform "manylinux_2_28_$arch" -r "$here/requirements.txt"
  mv "$temporary"/wheels/{awslambdaric,runtime_client*,simplejson,snapshot_restore_py*} "$root/var/runtime"
  install "$temporary/wheels/samcli/local/rapid/aws-lambda-rie-${arch/aarch64/arm64}" \
    "$root/usr/local/bin/aws-lambda-rie"

  install /dev/stdin "$root/lambda-entrypoint.sh" <<'EOF'
#!/bin/sh
if [ $# -ne 1 ]; then
  echo "entrypoint requires the handler name to be the first argument" >&2
  exit 142
fi
export _HANDLER="$1"
if [ -z "${AWS_LAMBDA_RUNTIME_API}" ]; then
  exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
fi
exec /var/runtime/bootstrap
EOF
  install /dev/stdin "$root/var/runtime/bootstrap" <<'EOF'
#!/bin/sh
cd "$LAMBDA_TASK_ROOT" || exit
PYTHONPATH=$LAMBDA_TASK_ROOT:/opt/python:$LAMBDA_RUNTIME_DIR exec python -m awslambdaric "$_HANDLER"
EOF

  # `docker import` would take it for an image for this computer's processor, so it is loaded with settings written here
  tar -C "$root" -cf "$temporary/layer.tar" .
  printf '%s' '{"architecture": "'"$debian"'", "os": "linux", "config": {"Entrypoint": ["/lambda-entrypoint.sh"],
    "WorkingDir": "/var/task", "Env": ["LAMBDA_TASK_ROOT=/var/task", "LAMBDA_RUNTIME_DIR=/var/runtime", "LANG=C.UTF-8",
    "TZ=:/etc/localtime", "PATH=/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin"]}, "history": [{"created_by": "base.sh"}],
    "rootfs": {"type": "layers", "diff_ids": ["sha256:'"$(sha256sum "$temporary/layer.tar" | cut -d ' ' -f 1)"'"]}}' >"$temporary/config.json"
  echo '[{"Config": "config.json", "RepoTags": ["'"$tag"'"], "Layers": ["layer.tar"]}]' >"$temporary/manifest.json"
  tar -C "$temporary" -c manifest.json config.json layer.tar | docker load
}

main "$@"
