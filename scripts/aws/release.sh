# The steps of deploy.sh around a version of the function: check, warm-up, clean-up. To be sourced by it.
# shellcheck shell=bash disable=SC2154  # variables of deploy.sh

# Ask the version about PHOTO, cold and then warm. Fails on an error, on another label than the photo's (unless the
# model does not know that label), and if the second answer takes longer than 2 s.
check() {
  local answer label log='' ms
  label=$(basename "$(dirname "$PHOTO")")
  printf '{"image": "%s"}' "$(base64 <"$PHOTO" | tr -d '\n')" >"$tmp/event"
  for _ in cold warm; do
    log=$(aws lambda invoke --function-name "$function" --qualifier "$version" --log-type Tail --output text \
      --payload "fileb://$tmp/event" --query LogResult "$tmp/answer" | base64 --decode) || return
  done
  answer=$(<"$tmp/answer") ms=${log##*$'\tDuration: '} ms=${ms%%[!0-9]*}
  printf '%-8s %s\n' Check "version $version says of $PHOTO: $answer ($ms ms)"
  [[ $answer == '{"'* && $answer != '{"error'* ]] || { echo "$log"; return 1; }
  [[ $answer == "{\"$label\":"* || $answer != *"\"$label\":"* ]] && ((ms <= 2000))
}

# Start a few instances of what serves: the first starts of a new image are the slowest. A new URL may take a minute.
warm() {
  curl -fsS --no-progress-meter --parallel --parallel-immediate --retry 20 --retry-all-errors --retry-delay 3 \
    --max-time 60 --output /dev/null "${url}health?[1-4]" 2>"$tmp/error" || die "$(tail -n 1 "$tmp/error")" \
    "Version $version passed its check and serves, but $url does not answer. See make logs, or: make rollback"
}

# Delete the versions other than the given one and the three newest up to the one that was live before (those between
# failed or were rolled back from), and the images that no version uses any more.
tidy() {
  local all image kept used='' version
  all=$(versions "$function")
  kept=" $(awk -v live="${live:-0}" '$1 <= live' <<<"$all" | tail -n 3 | tr '\n' ' ') $1 \$LATEST "
  for version in $all "\$LATEST"; do
    if [[ $kept == *" $version "* ]]; then
      used+=$(aws lambda get-function --function-name "$function" --qualifier "$version" --query Code.ImageUri)
    else
      aws lambda delete-function --function-name "$function" --qualifier "$version"
    fi
  done
  for image in $(aws ecr list-images --repository-name "$STACK" --query 'imageIds[].imageDigest' --output text); do
    [[ $used == *"$image"* ]] ||
      aws ecr batch-delete-image --repository-name "$STACK" --image-ids "imageDigest=$image" >/dev/null
  done
}
