#!/usr/bin/env bash
# Looks after what runs on AWS: scripts/aws/stack.sh status|logs|rollback|undeploy
# Environment: STACK, the stack's name; AWS, the client.
# shellcheck source=scripts/aws/common.sh
source "$(dirname "$0")/common.sh"

# Print the state, the outputs and the parameters.
status() { sed 's/^\.//' "$tmp/stack"; }

# Print the last hour, then what comes, until Ctrl-C. Each look goes a minute back, as events may arrive late.
logs() {
  local back=3600
  touch "$tmp/seen"
  while true; do
    aws logs filter-log-events --log-group-name "$(value .LogGroup)" --query 'events[].[eventId, message]' \
      --start-time "$((($(date +%s) - back) * 1000))" --output text >"$tmp/events"
    grep -vxFf "$tmp/seen" "$tmp/events" | cut -f 2- || true
    mv "$tmp/events" "$tmp/seen"
    back=60
    sleep 2
  done
}

# Let the version before the live one serve: at once, by the alias; then the stack records it.
rollback() {
  local function live previous
  function=$(value .FunctionName) live=$(value Live)
  previous=$(versions "$function" | awk -v live="${live:-0}" '$1 < live' | tail -n 1)
  [[ $previous ]] || die "there is no version before ${live:-the first} to go back to."
  aws lambda update-alias --function-name "$function" --name live --function-version "$previous" >/dev/null
  echo "Version $previous serves instead of $live."
  aws cloudformation get-template --stack-name "$STACK" --query TemplateBody --output text >"$tmp/template.yaml"
  update "Live=$previous" --template-file "$tmp/template.yaml"
}

undeploy() {
  local answer
  read -rp "This deletes the stack $STACK in $AWS_DEFAULT_REGION with its API, logs and images. Type its name: " answer
  [[ $answer == "$STACK" ]] || die "nothing was deleted."
  aws cloudformation delete-stack --stack-name "$STACK"
  echo "Deleting, which takes a minute or two…"
  change wait stack-delete-complete
  echo "The stack $STACK is gone."
}

[[ ${1-} == @(status|logs|rollback|undeploy) ]] || die "usage: stack.sh status|logs|rollback|undeploy"
connect
if [[ $status ]]; then "$1"; else echo "There is no stack $STACK in account $account, region $AWS_DEFAULT_REGION."; fi
