#!/usr/bin/env bash
# The container image to AWS: Lambda behind API Gateway, as the CloudFormation stack of lambda/template.yaml.
#   scripts/deploy.sh          as make deploy: push, update the stack, ask it about a photo; back again if that fails
#   scripts/deploy.sh --plan   as make deploy-plan: show what that would change
# Environment: STACK, its name; PARAMETERS of the template to set, "Memory=3008 ApiKey=yes", others stay as they are;
# IID, the file with the image's id; MODEL, what the image holds; PHOTO, <label>/name.jpg for the smoke test;
# FORCE=1 for a model of drawn data; SMOKE_URL, asked instead of the stack's URL where a stand-in for API Gateway is.
# It can be interrupted anywhere: the same command goes on from there. Needs an AWS client, Docker, curl, python3.
# shellcheck source=scripts/aws/common.sh
source "$(dirname "$0")/aws/common.sh"
MODEL=${MODEL:-artifacts/release/model.tflite} IID=${IID:-artifacts/image.iid}
PHOTO=${PHOTO:-tests/photos/pants/jeans.jpg}

prepare() {  # checks all that can be checked before, and says what is to be deployed
  local architecture dataset digest limit memory role
  updatable
  id=$(<"$IID") tag=${id:7:12}
  architecture=$(docker image inspect --format '{{.Architecture}}' "$id") ||
    die "Docker does not answer, or has lost the image." "Start it, rm -f $IID, then repeat."
  dataset=$(python3 -c 'import json, sys, zipfile
print(json.loads(zipfile.ZipFile(sys.argv[1]).read("metadata.json")).get("dataset"))' "$MODEL")
  [[ $dataset != drawn || ${FORCE-} == 1 ]] ||
    die "$MODEL was trained on drawn data, which is for tests." "Train it on photos, or repeat with FORCE=1."
  parameters=("Architecture=${architecture/amd64/x86_64}")
  repository=$(output RepositoryUri) uri=
  if [[ $repository ]]; then
    digest=$(aws ecr batch-get-image --repository-name "$STACK" --image-ids "imageTag=$tag" \
      --query 'images[0].imageId.imageDigest' --output text)
    if [[ $digest == sha256:* ]]; then uri=$repository@$digest; fi
  else  # what fits the account: its role for API Gateway's logs if it has one; nothing reserved where little is free
    role=$(aws apigateway get-account --query cloudwatchRoleArn)
    if [[ $role != null ]]; then parameters+=(ApiLogRole=account); fi
    limit=$("$AWS" lambda get-account-settings --query AccountLimit.ConcurrentExecutions 2>"$tmp/error") || limit=1000
    if ((limit < 110)); then parameters+=(Concurrency=-1); fi
  fi
  # shellcheck disable=SC2206  # words; the user's come last, as the last one counts
  parameters+=(${PARAMETERS-})
  memory=$(stack "Parameters[?ParameterKey=='Memory'] | [0].ParameterValue")
  if [[ " ${PARAMETERS-}" == *" Memory="* ]]; then memory=${PARAMETERS#*Memory=} memory=${memory%% *}; fi
  printf '%-8s %s\n' Account "$account, region $AWS_DEFAULT_REGION" Stack "$STACK (${status:-new}) ${parameters[*]}" \
    Image "$tag with $MODEL (data: $dataset)${uri:+, pushed already}"
  # shellcheck source=scripts/aws/prices.env
  source "$(dirname "$0")/aws/prices.env"
  awk -v mb="${memory:-1769}" "BEGIN { printf \"Cost     about $%.2f per million predictions of 100 ms with %d MB\n\",
    $API_REQUEST + $LAMBDA_REQUEST + mb / 10240 * (\"$architecture\" ~ /arm/ ? $GB_SECOND_ARM : $GB_SECOND_X86), mb }"
}

update() {  # TEMPLATE [flag] --parameter-overrides NAME=VALUE...
  "$AWS" cloudformation deploy --stack-name "$STACK" --capabilities CAPABILITY_IAM --tags "$TAG" \
    --no-fail-on-empty-changeset --template-file "$@" 2>"$tmp/error" || { failures; explain; }
}

plan() {
  local changes  # planned with the image's id for its digest, which is known once it is pushed
  update lambda/template.yaml --no-execute-changeset \
    --parameter-overrides "ImageUri=${uri:-$STACK@$id}" "${parameters[@]}" | tee "$tmp/plan"
  changes=$(grep -o 'arn:[^ ]*' "$tmp/plan") || return 0
  aws cloudformation describe-change-set --change-set-name "$changes" --output table \
    --query 'Changes[].ResourceChange.[Action, LogicalResourceId, ResourceType, Replacement]'
  aws cloudformation delete-change-set --change-set-name "$changes"
  if [[ ! $status ]]; then aws cloudformation delete-stack --stack-name "$STACK"; fi  # an empty one, made to plan in
  echo "Nothing was changed."
}

push() {
  { aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}" >/dev/null &&
    docker tag "$id" "$repository:$tag" && docker push "$repository:$tag"; } ||
    die "the push stopped; what serves is as it was." "Check the network, then repeat: it goes on with what is missing."
  uri=$(docker image inspect --format '{{join .RepoDigests "\n"}}' "$id" | grep -m 1 "^$repository@")
}

# Ask the public URL about PHOTO; false unless the first label is its folder's name, or the model does not know that.
smoke() {
  local answer label=${PHOTO%/*}
  url=${SMOKE_URL:-$(output Url)} key=$(output ApiKeyId) label=${label##*/}
  if [[ $key ]]; then key=$(aws apigateway get-api-key --api-key "$key" --include-value --query value --output text); fi
  answer=$(curl -fsS --retry 5 --retry-all-errors --retry-delay 2 --max-time 40 --data-binary "@$PHOTO" \
    -H 'Content-Type: image/jpeg' -H "x-api-key: $key" "${url}predict") || return
  echo "Smoke    $PHOTO is $answer"
  [[ $answer == "{\"$label\":"* || ($answer == '{"'* && $answer != *"\"$label\":"*) ]]
}

connect; prepare
if [[ ${1-} == --plan ]]; then plan; exit; fi
if [[ ! $repository ]]; then
  update lambda/template.yaml --parameter-overrides ImageUri= "${parameters[@]}"
  repository=$(output RepositoryUri)
fi
read -ra before < <(stack "Parameters[].join('=', [ParameterKey, ParameterValue])")
aws cloudformation get-template --stack-name "$STACK" --query TemplateBody --output text >"$tmp/before.yaml"
if [[ ! $uri ]]; then push; fi
update lambda/template.yaml --parameter-overrides "ImageUri=$uri" "${parameters[@]}" | tee "$tmp/update"
if ! smoke; then
  if grep -q "No changes" "$tmp/update"; then die "what is deployed fails the smoke test." "See: make logs"; fi
  echo "The smoke test failed: going back to the version before."
  update "$tmp/before.yaml" --parameter-overrides "${before[@]}"
  die "the new version failed its smoke test; the one before is back." "Compare: make docker-test"
fi
echo "Try it:  curl ${key:+-H 'x-api-key: …' }-H 'Content-Type: image/jpeg' --data-binary @photo.jpg ${url}predict"
