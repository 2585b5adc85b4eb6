# What the scripts for AWS share: the client, with errors that say what to do next, and the stack.
# To be sourced. `die` ends the script with an error; so does `aws` if the client fails.
# shellcheck shell=bash disable=SC2034  # variables of the scripts that source this
set -euo pipefail

STACK=${STACK:-clothes}
# The installed client if it is version 2, which AWS maintains; else the pinned version 1.
if [[ ! ${AWS-} && $(command aws --version 2>&1) == aws-cli/2.* ]]; then AWS=$(type -P aws); fi
AWS=${AWS:-.venv/aws/bin/aws}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT  # bash would go on after a command that succeeds in spite of Ctrl-C

# The user's own settings of the client must not change what is parsed here.
export AWS_DEFAULT_OUTPUT=json AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=5

die() {
  printf '%s\n' "error: $1" "${@:2}" >&2
  exit 1
}

aws() { "$AWS" "$@" 2>"$tmp/error" || explain; }

# Exit with the client's last error and the next step. A stack that does not exist is no error; it prints nothing.
explain() {
  local hint="Fix this, then repeat the command: it continues where it stopped."
  case $(<"$tmp/error") in
    *"Stack with id $STACK does not exist"*) return ;;
    *xpired* | *"locate credentials"* | *InvalidClientTokenId* | *UnrecognizedClient* | *SignatureDoesNotMatch*)
      hint="Log in to AWS again, or check AWS_PROFILE and AWS_REGION; then repeat the command." ;;
    *AccessDenied* | *"not authorized"*) hint="Ask for the policy lambda/deploy-policy.json, then repeat." ;;
    *"connect to"* | *"endpoint URL"* | *"Connection was closed"* | *timeout*)
      hint="Check the network, and that $AWS_DEFAULT_REGION is a region (AWS_REGION); then repeat the command." ;;
    *EarlyValidation* | *"already exists"*) hint="Names are taken. Choose another name: STACK=…" ;;
    *_IN_PROGRESS*) hint="Wait until make deploy-status shows that this has ended, then repeat the command." ;;
    *UPDATE_ROLLBACK_FAILED*)
      hint="Fix the reasons above, then run: $AWS cloudformation continue-update-rollback --stack-name $STACK" ;;
    *"can not be updated"*) hint="It can only be deleted. Run make undeploy, then repeat the command." ;;
  esac
  die "$(<"$tmp/error")" "$hint"
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

# Run a command of CloudFormation that changes the stack. If it fails, also print the reasons in CloudFormation's words.
change() {
  if "$AWS" cloudformation "$@" --stack-name "$STACK" 2>"$tmp/error"; then return; fi
  "$AWS" cloudformation describe-events --stack-name "$STACK" --filters FailedEvents=true --no-paginate --output text \
    --query "OperationEvents[].[LogicalResourceId, ResourceStatusReason || ValidationStatusReason] | [:8]" \
    >&2 2>/dev/null || true
  explain
}

# Apply lambda/template.yaml: update NAME=VALUE… [flags]. Parameters that are not named keep their values.
update() {
  change deploy --capabilities CAPABILITY_IAM --tags application=image-classifier --no-fail-on-empty-changeset \
    --template-file lambda/template.yaml --parameter-overrides "$@"
  describe
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
  account=$(aws sts get-caller-identity --query Account --output text)
  describe
  status=$(value .status)
  if [[ $status == REVIEW_IN_PROGRESS ]]; then status=; fi  # planned only
  [[ ! $status || $(value .application) == image-classifier ]] ||
    die "the stack $STACK in $AWS_DEFAULT_REGION was not made by make deploy." "Choose another name: STACK=…"
}
