#!/usr/bin/env bash
# Makes a stand-in for AWS's Python base image, for where AWS's registry can't be reached:
#   tests/docker/base.sh SUITE TAG    Debian's SUITE decides the Python: trixie 3.13, bookworm 3.11
# It keeps to the contract of AWS's image: AWS's own runtime client in /var/runtime, AWS's own emulator, the entry point
# with the handler's name as its one argument, the variables, /var/task as working folder, python and pip on the PATH.
# It differs in all else: Debian instead of Amazon Linux, so another C library, and no boto3.
# Needs root, Python's pip, and Debian's package mmdebstrap.
set -euo pipefail

main() {
  local suite=$1 tag=$2 here temporary root python
  here=$(cd "$(dirname "$0")" && pwd)
  temporary=$(mktemp -d)
  # shellcheck disable=SC2064  # expanded now, as the variable is local
  trap "rm -rf '$temporary'" EXIT
  root=$temporary/root

  mmdebstrap --quiet --variant=essential --include=python3-pip,ca-certificates,libstdc++6 "$suite" "$root"
  mkdir -p "$root"/var/{lang/bin,runtime,task} "$root/opt"
  python=$(basename "$(realpath "$root/usr/bin/python3")")
  ln -s "/usr/bin/$python" "$root/var/lang/bin/$python"
  ln -s "$python" "$root/var/lang/bin/python3"
  ln -s "$python" "$root/var/lang/bin/python"

  python3 -m pip install --quiet --disable-pip-version-check --target "$temporary/wheels" --no-deps \
    --only-binary :all: --implementation cp --python-version "${python#python}" \
    --platform "manylinux2014_$(uname -m)" --platform "manylinux_2_28_$(uname -m)" -r "$here/requirements.txt"
  mv "$temporary"/wheels/{awslambdaric,runtime_client*,simplejson,snapshot_restore_py*} "$root/var/runtime"
  install "$temporary/wheels/samcli/local/rapid/aws-lambda-rie-$(uname -m | sed s/aarch64/arm64/)" \
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

  tar -C "$root" -c . | docker import --change 'ENTRYPOINT ["/lambda-entrypoint.sh"]' --change 'WORKDIR /var/task' \
    --change 'ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime LANG=C.UTF-8 TZ=:/etc/localtime' \
    --change 'ENV PATH=/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin' - "$tag"
}

main "$@"
