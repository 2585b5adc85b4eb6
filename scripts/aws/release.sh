# The steps of deploy.sh around a version of the function: parameters, check, clean-up. To be sourced by it.
# shellcheck shell=bash disable=SC2034,SC2154  # variables shared with deploy.sh
KEEP=3         # older versions kept to roll back to, with their images
LIMIT_MS=2000  # longest time that a warm version may take for the photo of the check

# Add the parameters of a first deployment: what fits the account, and a key, so that strangers can't run up the bill.
first_parameters() {
  local boundary free
  free=$(aws lambda get-account-settings --query AccountLimit.UnreservedConcurrentExecutions --output text)
  if ((free < 110)); then parameters+=("Concurrency=-1"); fi  # AWS keeps 100 unreserved; new accounts have fewer
  boundary=$(aws iam list-policies --scope Local --output text --query "Policies[?PolicyName=='$STACK-boundary'].Arn")
  if [[ $boundary ]]; then parameters+=("Boundary=$boundary"); fi
  KEY=${KEY:-first}
}

# Add the key KEY, withdraw NO_KEY. Sets keys, the parameter's value, and key, which is printed once, at the end.
api_keys() {
  local reply
  keys=$(value ApiKeys) key=
  if [[ " ${PARAMETERS-}" == *" ApiKeys="* ]]; then keys=${PARAMETERS#*ApiKeys=} keys=${keys%% *}; return; fi
  reply=$(python3 "$(dirname "$0")/aws/api_keys.py" "$keys" --add "${KEY-}" --withdraw "${NO_KEY-}")
  keys=${reply% *} key=${reply##* }
  parameters+=("ApiKeys=$keys")
}

# Publish the function as it is now. Prints the version's number: the last one's if nothing has changed since.
publish() {
  local version
  version=$(aws lambda publish-version --function-name "$function" --query Version --output text)
  aws lambda wait published-version-active --function-name "$function" --qualifier "$version"
  echo "$version"
}

# Ask VERSION about PHOTO, cold and then warm. Fails on an error, on another label than the photo's (unless the model
# does not know that label), and if the second answer takes longer than LIMIT_MS.
check() {
  local answer='' label=${PHOTO%/*} log='' ms=0 reply=
  label=${label##*/}
  printf '{"image": "%s"}' "$(base64 <"$PHOTO" | tr -d '\n')" >"$tmp/event"
  for _ in cold warm; do
    reply=$(aws lambda invoke --function-name "$function" --qualifier "$1" --log-type Tail --output text \
      --payload "fileb://$tmp/event" --query '[FunctionError, LogResult]' "$tmp/answer") || return
    answer=$(<"$tmp/answer") log=$(cut -f 2 <<<"$reply" | base64 --decode)
    ms=$(grep -o $'\tDuration: [0-9]*' <<<"$log" | tail -n 1 | grep -o '[0-9]*') || ms=0
  done
  printf '%-8s %s\n' Check "version $1 says of $PHOTO: $answer ($ms ms)"
  [[ $reply == None* && $answer == '{"'* && $answer != '{"error":'* ]] || { echo "$log"; return 1; }
  [[ $answer == "{\"$label\":"* || $answer != *"\"$label\":"* ]] && ((ms <= LIMIT_MS))
}

# Start a few instances of what serves: the first starts of a new image are the slowest. A new URL may take a minute.
warm() {
  url=${API_URL:-$(value .Url)}
  curl -fsS --no-progress-meter --parallel --parallel-immediate --retry 20 --retry-all-errors --retry-delay 3 \
    --max-time 60 --output /dev/null "${url}health?[1-4]" 2>"$tmp/error" || die "$(tail -n 1 "$tmp/error")" \
    "Version $version passed its check and serves, but $url does not answer. See make logs, or: make rollback"
}

# Delete the versions other than NEW and the KEEP newest up to OLD (those between failed or were rolled back from), and
# the images that no version uses any more.
tidy() {
  local all image kept unused=() used='' version
  all=$(versions "$function")
  kept=$(awk -v old="$1" '$1 <= old' <<<"$all" | tail -n "$KEEP")
  kept=" ${kept//$'\n'/ } $2 "
  for version in $all; do
    [[ $kept == *" $version "* ]] || aws lambda delete-function --function-name "$function" --qualifier "$version"
  done
  for version in $kept "\$LATEST"; do
    used+=$(aws lambda get-function --function-name "$function" --qualifier "$version" --query Code.ImageUri)
  done
  for image in $(aws ecr list-images --repository-name "$STACK" --query 'imageIds[].imageDigest' --output text); do
    [[ $used == *"$image"* ]] || unused+=("imageDigest=$image")
  done
  ((${#unused[@]} == 0)) ||
    aws ecr batch-delete-image --repository-name "$STACK" --image-ids "${unused[@]}" >/dev/null
}
