#!/usr/bin/env bash
# What runs on AWS: scripts/aws/stack.sh status|logs|undeploy    as make deploy-status, logs, undeploy
# Environment: STACK, the stack's name; AWS, the client.
# shellcheck source=scripts/aws/common.sh
source "$(dirname "$0")/common.sh"

status() {
  aws cloudformation describe-stacks --stack-name "$STACK" --output text --query "Stacks[0].[
    [['Stack', StackName], ['Status', StackStatus], ['Changed', LastUpdatedTime || CreationTime]],
    Outputs[].[OutputKey, OutputValue], Parameters[].[ParameterKey, ParameterValue]] | []"
}

# The last hour, then what comes, until Ctrl-C. Each look goes a minute back, as events may arrive late.
logs() {
  local back=3600 group
  group=$(output LogGroup)
  [[ $group ]] || die "the stack $STACK has no function yet." "Run: make deploy"
  touch "$tmp/seen"
  while true; do
    aws logs filter-log-events --log-group-name "$group" --start-time "$((($(date +%s) - back) * 1000))" \
      --query 'events[].[eventId, message]' --output text >"$tmp/events"
    grep -vxFf "$tmp/seen" "$tmp/events" | cut -f 2- || true
    mv "$tmp/events" "$tmp/seen"
    back=60
    sleep 2
  done
}

undeploy() {
  local answer role
  read -rp "This deletes the stack $STACK in $AWS_DEFAULT_REGION with its API, logs and images. Type its name: " answer
  [[ $answer == "$STACK" ]] || die "nothing was deleted."
  role=$(aws apigateway get-account --query "cloudwatchRoleArn || ''" --output text)
  if [[ $role == */"$STACK"-ApiLogWriter-* ]]; then  # else the account would keep the name of a deleted role
    aws apigateway update-account --patch-operations op=replace,path=/cloudwatchRoleArn,value= >/dev/null
  fi
  aws cloudformation delete-stack --stack-name "$STACK"
  echo "Deleting, which takes a minute or two…"
  "$AWS" cloudformation wait stack-delete-complete --stack-name "$STACK" 2>"$tmp/error" || { failures; explain; }
  echo "The stack $STACK is gone."
}

connect
if [[ ! $status ]]; then
  echo "There is no stack $STACK in account $account, region $AWS_DEFAULT_REGION."
elif [[ ${1-} =~ ^(status|logs|undeploy)$ ]]; then
  "$1"
else
  die "usage: stack.sh status|logs|undeploy"
fi
