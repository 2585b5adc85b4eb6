#!/usr/bin/env bash
# Deploys the container image to AWS Lambda behind an HTTP API, as the CloudFormation stack of lambda/template.yaml.
#   scripts/deploy.sh          make deploy: push, publish a new version, check it, and only then let it serve
#   scripts/deploy.sh --plan   make deploy-plan: show what that would change, and what it costs
# Environment: STACK, its name; PARAMETERS of the template to set ("Memory=3008 LogDays=7"), others keep their values;
# KEY, a name to make a new API key for; NO_KEY, the name of a key to withdraw; MODEL, what the image holds; PHOTO,
# <label>/name.jpg for the check; ARCH, if it is to change; FORCE=1 for a model of drawn data; API_URL, for a stand-in.
# It can be interrupted anywhere: repeat it. Needs Docker, curl, python3.
# shellcheck source=scripts/aws/common.sh
source "$(dirname "$0")/aws/common.sh"
# shellcheck source=scripts/aws/release.sh
source "$(dirname "$0")/aws/release.sh"
PHOTO=${PHOTO:-tests/photos/pants/jeans.jpg} PARAMETERS=${PARAMETERS-}

# Check all that can be checked beforehand, and print what is about to be deployed.
prepare() {
  local dataset digest first='' free reply
  id=$(<artifacts/image.iid) tag=${id:7:12} live=$(value Live) repository=$(value .RepositoryUri) uri='' key=''
  architecture=$(docker image inspect --format '{{.Architecture}}' "$id") ||
    die "Docker does not answer, or has lost the image." "Start it, rm -f artifacts/image.iid, then repeat."
  architecture=${architecture/amd64/x86_64}
  dataset=$(python3 -c 'import json, sys, zipfile
print(json.loads(zipfile.ZipFile(sys.argv[1]).read("metadata.json")).get("dataset"))' "$MODEL")
  [[ $dataset != drawn || ${FORCE-} == 1 ]] ||
    die "$MODEL was trained on drawn data, which is for tests." "Train it on photos, or repeat with FORCE=1."
  if [[ $repository ]]; then
    [[ ${ARCH-} || $(value Architecture) == "$architecture" ]] ||
      die "the stack runs on $(value Architecture), this image is for $architecture." \
        "Repeat with ARCH=$(value Architecture), or with ARCH=$architecture to change the stack."
    digest=$(aws ecr batch-get-image --repository-name "$STACK" --image-ids "imageTag=$tag" \
      --query 'images[].imageId.imageDigest' --output text)
    uri=${digest:+$repository@$digest}
  fi
  IFS=$'\n' read -rd '' -a before < <(grep -v '^\.' "$tmp/stack") || true  # the parameters as they are
  if [[ ! $live ]]; then  # what fits the account, and a key, so that strangers can't run up the bill
    first=$(aws iam list-policies --scope Local --output text \
      --query "Policies[?PolicyName=='$STACK-boundary'].join('=', ['Boundary', Arn])")
    free=$(aws lambda get-account-settings --query AccountLimit.UnreservedConcurrentExecutions --output text)
    if ((free < 110)); then first+=" Concurrency=-1"; fi  # AWS keeps 100 unreserved; new accounts have fewer
    if [[ $PARAMETERS != *ApiKeys=* ]]; then KEY=${KEY:-first}; fi
  fi
  read -ra parameters <<<"Architecture=$architecture $first $PARAMETERS"
  if [[ ${KEY-}${NO_KEY-} ]]; then
    reply=$(python3 scripts/aws/api_keys.py "$(value ApiKeys)" "${KEY-}" "${NO_KEY-}")
    parameters+=("ApiKeys=${reply% *}") key=${reply##* }
  fi
  printf '%-8s %s\n' Account "$account, region $AWS_DEFAULT_REGION" Stack "$STACK, ${status:-new}" \
    Image "$tag for $architecture with $MODEL (data: $dataset)${uri:+, already pushed}" Set "${parameters[*]}"
  python3 scripts/aws/costs.py ${before+"${before[@]}"} "${parameters[@]}"
}

connect
prepare
if [[ ${1-} == --plan ]]; then  # show the change set; the image's id stands for its digest, known after the push
  update "ImageUri=${uri:-$STACK@$id}" "Live=${live:-1}" "${parameters[@]}" --no-execute-changeset | tee "$tmp/plan"
  changes=$(grep -o 'arn:[^ ]*' "$tmp/plan") || exit 0  # none
  aws cloudformation describe-change-set --stack-name "$STACK" --change-set-name "$changes" --output table \
    --query 'Changes[].ResourceChange.[Action, LogicalResourceId, ResourceType, Replacement]'
  aws cloudformation delete-change-set --stack-name "$STACK" --change-set-name "$changes"
  if [[ ! $status ]]; then aws cloudformation delete-stack --stack-name "$STACK"; fi  # an empty one, made to plan in
  echo "Nothing was changed."
  exit
fi
if [[ ! $repository ]]; then
  update ImageUri= "${parameters[@]}"
  repository=$(value .RepositoryUri)
fi
if [[ ! $uri ]]; then
  { aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}" >/dev/null &&
    docker tag "$id" "$repository:$tag" && docker push "$repository:$tag"; } ||
    die "the push stopped; what serves is as it was." "Check the network, then repeat: the push resumes."
  uri=$(docker image inspect --format '{{join .RepoDigests "\n"}}' "$id" | grep -m 1 "^$repository@")
fi
update "ImageUri=$uri" "Live=$live" "${parameters[@]}"
function=$(value .FunctionName)
# Without a change, this gives the number of the last version.
version=$(aws lambda publish-version --function-name "$function" --query Version --output text)
if [[ $version != "$live" ]]; then
  aws lambda wait published-version-active --function-name "$function" --qualifier "$version"
  if ! check; then
    [[ $live ]] || die "version $version failed its check, see above; nothing is served yet." \
      "See make logs and make docker-test, then repeat."
    echo "Version $version failed its check: restoring the function as it was."
    update "${before[@]}"
    tidy "$live"
    die "version $version failed its check and was removed; version $live kept serving." "Compare: make docker-test"
  fi
  update "Live=$version"
fi
url=${API_URL:-$(value .Url)}
warm
tidy "$version"
echo "Version $version serves at $url"
if [[ $key ]]; then echo "API key  $KEY: $key   (shown only once)"; fi
echo "Try it:  curl -H 'x-api-key: …' -H 'Content-Type: image/jpeg' --data-binary @photo.jpg ${url}predict"
