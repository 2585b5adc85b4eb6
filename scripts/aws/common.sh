# What deploy.sh and stack.sh share: the AWS client, with errors that say what to do next, and the stack.
# To be sourced. `die` ends the script with an error; so does `aws` if the client fails.
# shellcheck shell=bash
set -euo pipefail

STACK=${STACK:-clothes}
if [[ ! ${AWS-} ]]; then  # an installed client if it is version 2, which AWS maintains; else the pinned version 1
  AWS=.venv/aws/bin/aws
  if [[ $(command aws --version 2>&1) == aws-cli/2.* ]]; then AWS=$(type -P aws); fi
fi
TAG=application=image-classifier  # on every stack made here; others are left alone
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT  # also if the command that Ctrl-C interrupts ends well nevertheless

# The user's own settings of the client must not change what is parsed here.
export AWS_DEFAULT_OUTPUT=json AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=5

die() {
  printf 'error: %s\n' "$1" >&2
  if (($# > 1)); then printf '  %s\n' "${@:2}" >&2; fi
  exit 1
}

aws() { "$AWS" "$@" 2>"$tmp/error" || explain; }

# Explain the client's last error and exit. A stack that does not exist is no error; it prints nothing.
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
      die "$error" "Ask for the policy lambda/deploy-policy.json on your user or role, then repeat." ;;
    *"connect to"* | *"endpoint URL"* | *"Connection was closed"* | *timeout*)
      die "$error" "Check the network, and that $region is a region (AWS_REGION); then repeat the command." ;;
    *EarlyValidation* | *"already exists"*)
      die "$error" "Names are taken, see above if they are listed. Choose another name: STACK=…" ;;
    *"Failed to create/update"*)
      die "$error" "The reasons are above. Fix them, then repeat; make deploy-status shows the stack's state." ;;
    *) die "$error" "Fix this, then repeat the command: it continues where it stopped." ;;
  esac
}

# Save the stack as lines NAME=VALUE in $tmp/stack: its parameters, and with a dot before the name its status, tags and
# outputs. A stack that does not exist leaves the file empty.
describe() {
  aws cloudformation describe-stacks --stack-name "$STACK" --output text --query "Stacks[0].[
    [join('=', ['.status', StackStatus])], Tags[].join('=', [join('.', ['', Key]), Value]),
    Outputs[].join('=', [join('.', ['', OutputKey]), OutputValue]),
    Parameters[].join('=', [ParameterKey, ParameterValue])] | []" | tr '\t' '\n' >"$tmp/stack"
}

# Print the value that describe saved: value Memory, value .Url
value() { sed -n "s/^$1=//p" "$tmp/stack"; }

# Print why the stack's last change failed, in CloudFormation's words. Early validation has its own list of reasons.
failures() {
  if grep -q EarlyValidation "$tmp/error" 2>/dev/null; then
    "$AWS" cloudformation describe-events --stack-name "$STACK" --filters FailedEvents=true --output text --query \
      "OperationEvents[?EventType=='VALIDATION_ERROR'].[LogicalResourceId, ValidationStatusReason] | [:8]" >&2 || true
  else
    "$AWS" cloudformation describe-stack-events --stack-name "$STACK" --output text --query "StackEvents[?ends_with(
      ResourceStatus, '_FAILED')].[LogicalResourceId, ResourceStatus, ResourceStatusReason] | [:8]" >&2 || true
  fi
}

# Apply TEMPLATE [flag] --parameter-overrides NAME=VALUE…; parameters that are not named keep their values.
update() {
  "$AWS" cloudformation deploy --stack-name "$STACK" --capabilities CAPABILITY_IAM --tags "$TAG" \
    --no-fail-on-empty-changeset --template-file "$@" 2>"$tmp/error" || { failures; explain; }
  describe
}

# Save the template and the parameters, to return to: update "$tmp/before.yaml" --parameter-overrides "${before[@]}"
remember() {
  local line
  before=()
  while read -r line; do before+=("$line"); done < <(grep -v '^\.' "$tmp/stack")
  aws cloudformation get-template --stack-name "$STACK" --query TemplateBody --output text >"$tmp/before.yaml"
}

# Print the numbers of the function's versions, in ascending order, one a line.
versions() {
  aws lambda list-versions-by-function --function-name "$1" --query "Versions[?Version!='\$LATEST'].Version" \
    --output text | tr '\t' '\n' | sort -n
}

# Check the client, the region, the credentials and the stack's owner. Sets account and status ('' for no stack).
connect() {
  [[ $STACK =~ ^[a-z][a-z0-9-]{1,40}$ ]] || die "STACK=$STACK: a name has lower-case letters, digits and dashes."
  command -v "$AWS" >/dev/null || die "no AWS client at $AWS" "Run: make .venv/aws/.installed"
  AWS_DEFAULT_REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-$("$AWS" configure get region || true)}}
  [[ $AWS_DEFAULT_REGION ]] || die "no region is set." "Repeat with the one you want, such as AWS_REGION=eu-central-1"
  export AWS_DEFAULT_REGION
  # shellcheck disable=SC2034  # read by the scripts that source this
  account=$(aws sts get-caller-identity --query Account --output text)
  describe
  status=$(value .status)
  if [[ $status == REVIEW_IN_PROGRESS ]]; then status=; fi  # planned only
  [[ ! $status || $(value ".${TAG%=*}") == "${TAG#*=}" ]] ||
    die "the stack $STACK in $AWS_DEFAULT_REGION was not made by make deploy." "Choose another name: STACK=…"
}

# Exit unless the stack is in a state that a change can start from.
updatable() {
  case $status in
    "" | CREATE_COMPLETE | UPDATE_COMPLETE | UPDATE_ROLLBACK_COMPLETE) ;;
    *_IN_PROGRESS) die "the stack $STACK is being changed ($status)." "Wait (make deploy-status), then repeat." ;;
    UPDATE_ROLLBACK_FAILED) failures; die "the stack $STACK is stuck, for the reasons above." \
      "Fix them, then run: $AWS cloudformation continue-update-rollback --stack-name $STACK" ;;
    *) failures; die "the stack $STACK is in $status: it can only be deleted." "Run make undeploy, then repeat." ;;
  esac
}
