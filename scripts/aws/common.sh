# What deploy.sh and stack.sh share, to be sourced: the AWS client with errors that name the next step, and the stack.
# shellcheck shell=bash
set -euo pipefail

STACK=${STACK:-clothes} AWS=${AWS:-.venv/aws/bin/aws}
TAG=application=image-classifier  # of every stack made here; others are left alone
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

die() {
  printf 'error: %s\n' "$1" >&2
  printf '  %s\n' "${@:2}" >&2
  exit 1
}

aws() { "$AWS" "$@" 2>"$tmp/error" || explain; }

# Say what the client's last error means, and end; a stack that does not exist is no error but prints nothing.
explain() {
  local error region=$AWS_DEFAULT_REGION
  error=$(<"$tmp/error")
  case $error in
    *"Stack with id $STACK does not exist"*) return ;;
    *Expired* | *expired*) die "$error" "Log in to AWS again, then repeat the command." ;;
    *"locate credentials"*) die "$error" "Set AWS_PROFILE, or run: $AWS configure" ;;
    *InvalidClientTokenId* | *UnrecognizedClient* | *SignatureDoesNotMatch*)
      die "$error" "AWS refuses these credentials in $region: check them (AWS_PROFILE) and the region (AWS_REGION)." ;;
    *AccessDenied* | *"not authorized"*)
      die "$error" "Have the policy lambda/deploy-policy.json attached to your user or role, then repeat." ;;
    *"connect to"* | *"endpoint URL"* | *"Connection was closed"* | *timeout*)
      die "$error" "Check the network, and that $region is a region (AWS_REGION); then repeat the command." ;;
    *"already exists"*) die "$error" "Choose another name: STACK=…" ;;
    *"Failed to create/update"*)
      die "$error" "The reasons are above. Mend them, then repeat; make deploy-status shows the stack's state." ;;
    *) die "$error" "Mend this, then repeat the command: it goes on from where it stopped." ;;
  esac
}

stack() { aws cloudformation describe-stacks --stack-name "$STACK" --query "Stacks[0].$1 || ''" --output text; }
output() { stack "Outputs[?OutputKey=='$1'] | [0].OutputValue"; }

# Why the stack's last change failed, in CloudFormation's words.
failures() {
  "$AWS" cloudformation describe-stack-events --stack-name "$STACK" --output text --query "StackEvents[?
    ends_with(ResourceStatus, '_FAILED')].[LogicalResourceId, ResourceStatus, ResourceStatusReason] | [:8]" >&2 || true
}

# Check the client, the region, the credentials and whose the stack is; sets account and status ('' for no stack).
connect() {
  local owner
  [[ $STACK =~ ^[a-z][a-z0-9-]{1,40}$ ]] || die "STACK=$STACK: a name has lower-case letters, digits and dashes."
  command -v "$AWS" >/dev/null || die "no AWS client at $AWS" "Run: make .venv/aws/.installed"
  AWS_DEFAULT_REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-$("$AWS" configure get region || true)}}
  [[ $AWS_DEFAULT_REGION ]] || die "no region is set." "Repeat with the one you want, such as AWS_REGION=eu-central-1"
  export AWS_DEFAULT_REGION AWS_PAGER=
  # shellcheck disable=SC2034  # read by the scripts that source this
  account=$(aws sts get-caller-identity --query Account --output text)
  status=$(stack StackStatus)
  if [[ $status == REVIEW_IN_PROGRESS ]]; then status=; fi  # planned only
  owner=$(stack "Tags[?Key=='${TAG%=*}'].Value | [0]")
  [[ ! $status || $owner == "${TAG#*=}" ]] ||
    die "the stack $STACK in $AWS_DEFAULT_REGION was not made by make deploy." "Choose another name: STACK=…"
}

# End unless the stack is in a state that a change can start from.
updatable() {
  case $status in
    "" | CREATE_COMPLETE | UPDATE_COMPLETE | UPDATE_ROLLBACK_COMPLETE) ;;
    *_IN_PROGRESS) die "the stack $STACK is being changed ($status)." "Wait (make deploy-status), then repeat." ;;
    UPDATE_ROLLBACK_FAILED) failures; die "the stack $STACK is stuck, for the reasons above." \
      "Mend them, then run: $AWS cloudformation continue-update-rollback --stack-name $STACK" ;;
    *) failures; die "the stack $STACK is in $status: it can only be deleted." "Run make undeploy, then repeat." ;;
  esac
}
